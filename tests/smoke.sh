#!/usr/bin/env bash
# What we ship, tried as a user would: the wheel imported outside the checkout with neither pyspark
# nor torch beside it, and two jobs run through spark-submit with the zip.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
mkdir notes
printf 'No fever. Takes aspirin 81 mg daily.\n' > notes/one.txt

"$root/.venv/bin/python" -m venv venv
wheel=$(echo "$root"/dist/spanlake-*.whl)
venv/bin/python -m pip install --quiet --disable-pip-version-check "$wheel[cpu]"
venv/bin/python - <<'PY'
import importlib.util
import os
import spanlake
assert spanlake.__file__.startswith(os.path.realpath(os.getcwd())), spanlake.__file__
for name in ("pyspark", "torch", "delta"):
    assert importlib.util.find_spec(name) is None, f"the wheel brought {name}"
PY
venv/bin/spanlake annotate notes --to out
grep -q "$(printf '\tproblem ')" out/one.ann
echo "wheel: ok"

# The development environment knows the checkout's own library too: say from where it was taken.
cat > where.py <<'PY'
from pyspark.sql import SparkSession
import spanlake
spark = SparkSession.builder.getOrCreate()
there = spark.sparkContext.parallelize([0], 1).map(lambda _: __import__("spanlake").__file__)
for place in (spanlake.__file__, there.first()):
    assert "spanlake.zip" in place, place
PY
cp "$root"/jobs/ingest.py "$root"/jobs/extract.py .
printf 'tables: {location: tables}\nsource: {format: text, path: notes}\n' > ingest.yml
printf 'tables: {location: tables}\nextractor: {kind: dictionary}\n' > extract.yml
submit() { "$root/.venv/bin/spark-submit" --py-files "$root/dist/spanlake.zip" "$@" 2>> log; }
submit where.py || { cat log; exit 1; }
submit ingest.py --config ingest.yml | grep -E 'notes_new +1' || { cat log; exit 1; }
submit extract.py --config extract.yml | grep -E 'units_read +2' || { cat log; exit 1; }
echo "zip: ok"

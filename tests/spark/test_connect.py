"""The dataflow over Spark Connect gives the same rows as a classic session."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from spanlake.spark.session import LOCAL

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.spark, pytest.mark.long, pytest.mark.timeout(1200)]

PROGRAM = """
import json, sys
from pathlib import Path
from spanlake.config.extract import ExtractConfig, IngestConfig
from spanlake.spark.extract import extract, summary
from spanlake.spark.ingest import ingest
from spanlake.spark.maintain import maintain, purge
from spanlake.spark.session import get_session
from spanlake.spark.tables import Tables

folder, notes = Path(sys.argv[1]), Path(sys.argv[2])
spark = get_session("connect")
found = {"class": type(spark).__module__}
for way, driver_notes in (("driver", 100), ("spark", 0)):
    place = {"tables": {"location": str(folder / way)}}
    tables = Tables(spark, IngestConfig.model_validate(
        {**place, "source": {"format": "text", "path": str(notes)}}).tables)
    source = {"format": "jsonl", "path": str(folder / "notes.jsonl")}
    counts = ingest(tables, IngestConfig.model_validate({**place, "source": source}))
    config = ExtractConfig.model_validate({
        **place, "extractor": {"kind": "dictionary"}, "driver_notes": driver_notes, "slices": 2,
        "where": "note_id <> 'nobody'"})
    facts = extract(tables, config)
    if way == "driver":
        assert extract(tables, config)["notes"] == 0
        ingest(tables, IngestConfig.model_validate(
            {**place, "source": {"format": "text", "path": str(notes)}, "removed_notes": "keep"}))
        maintain(tables, config)
        purge(tables, config)
    tables.use()
    rows = spark.sql("SELECT note_id, label, start, `end`, text FROM current_entities").collect()
    found[way] = sorted(map(list, rows))
    found[f"{way} relations"] = spark.table("current_relations").count()
    found[f"{way} counts"] = [counts["notes_new"], facts["notes"]]
print(json.dumps(found))
"""


def settings(folder: Path) -> Path:
    """Return a configuration of Spark as `make setup`'s, with few partitions."""
    shutil.copytree(ROOT / "conf" / "spark", folder / "conf")
    with (folder / "conf" / "spark-defaults.conf").open("a", encoding="utf-8") as file:
        file.writelines(f"{key} {value}\n" for key, value in LOCAL.items())
    return folder / "conf"


def run(folder: Path, notes: Path, remote: str | None) -> dict:
    folder.mkdir()
    lines = [{"note_id": str(i), "note_text": f"No fever on day {i}."} for i in range(3)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (folder / "notes.jsonl").write_text(text, encoding="utf-8")
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "lib"),
        "SPARK_CONF_DIR": str(settings(folder)),
        "PYSPARK_PYTHON": sys.executable,
        **({"SPARK_REMOTE": remote} if remote else {}),
    }
    call = [sys.executable, "-c", PROGRAM, str(folder), str(notes)]
    ended = subprocess.run(call, env=environment, capture_output=True, text=True, cwd=folder)
    assert ended.returncode == 0, ended.stderr[-3000:]
    return json.loads(ended.stdout.splitlines()[-1])


def test_the_dataflow_runs_over_connect(tmp_path):
    pytest.importorskip("grpc", reason="make setup")
    notes = tmp_path / "notes"
    notes.mkdir()
    for i, text in enumerate(["Denies chest pain. Takes aspirin 81 mg daily.", "No cough.", ""]):
        (notes / f"n{i}.txt").write_text(text, encoding="utf-8")
    connect = run(tmp_path / "connect", notes, "local[2]")
    classic = run(tmp_path / "classic", notes, None)
    assert "connect" in connect.pop("class") and "connect" not in classic.pop("class")
    assert connect == classic
    assert connect["driver"] == connect["spark"] and len(connect["spark"]) >= 3

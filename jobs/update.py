"""Ingest and extract in one session: `spanlake update` for spark-submit.

spark-submit jobs/update.py --ingest conf/ingest_jsonl.yml --extract conf/extract_small.yml
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["update", *sys.argv[1:]]))

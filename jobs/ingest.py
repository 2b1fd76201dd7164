"""Bring the table `notes` in step with a source: `spanlake ingest` for spark-submit.

spark-submit jobs/ingest.py --config conf/ingest_jsonl.yml --set source.path=notes.jsonl
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["ingest", *sys.argv[1:]]))

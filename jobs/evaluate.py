"""Score a model; with tables, store the scores: `spanlake evaluate` for spark-submit.

spark-submit jobs/evaluate.py --gold FOLDER --config conf/extract_small.yml --json scores.json
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", "--store", *sys.argv[1:]]))

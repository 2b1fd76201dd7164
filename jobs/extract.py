"""Entities and relations of all notes that have none yet: `spanlake extract` for spark-submit.

spark-submit jobs/extract.py --config conf/extract_small.yml [--step plan|infer|derive|all]
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))

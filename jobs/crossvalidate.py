"""Train a tagger per fold and score it: `spanlake crossvalidate` for spark-submit.

python jobs/crossvalidate.py --config conf/train_folds.yml --folds FOLDS.tsv
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["crossvalidate", *sys.argv[1:]]))

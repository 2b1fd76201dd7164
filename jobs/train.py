"""Train a model on annotated notes: `spanlake train` for spark-submit.

python jobs/train.py --config conf/train_tagger.yml --set model=PATH_OR_NAME
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))

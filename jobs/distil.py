"""Train a student on the predictions of an ensemble: `spanlake distil` for spark-submit.

python jobs/distil.py --config conf/distil_small.yml
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["distil", *sys.argv[1:]]))

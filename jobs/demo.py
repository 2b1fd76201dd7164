"""The main job on the bundled notes: `spanlake demo` for spark-submit.

spark-submit jobs/demo.py      (or `make demo`, which sets up first)
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["demo", *sys.argv[1:]]))

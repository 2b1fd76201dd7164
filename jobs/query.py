"""Print the result of a SQL query on the tables: `spanlake query` for spark-submit.

python jobs/query.py --config conf/extract_demo.yml "SELECT * FROM current_entities"
"""

import sys

from spanlake.cli import main

if __name__ == "__main__":
    sys.exit(main(["query", *sys.argv[1:]]))

"""One row of `runs` per job run, appended when it ends."""

from __future__ import annotations

import os
import re
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

import pyspark
from pyspark.sql import Row
from pyspark.sql import types as T

import spanlake
from spanlake.config.base import Model
from spanlake.spark.schemas import TABLES
from spanlake.spark.tables import Tables

CONFLICT = re.compile(r"concurrent|MetadataChanged|ProtocolChanged", re.IGNORECASE)
ATTEMPTS = 6  # two jobs may renew their rows of the same file at once: Delta lets one win


class Run:
    """A context manager around a job: `with Run(tables, "extract", config) as run: ...`.

    `run.facts` collects columns of `runs`; the row is appended when the run closes. An exception
    closes the run as failed with the exception's class (never its message) and passes on; a run
    that was killed leaves no row until the next run finds it dead (`record_lost`).
    """

    def __init__(self, tables: Tables, job: str, config: Model, **facts: Any) -> None:
        self.tables = tables
        self.run_id = uuid.uuid4().hex
        self.facts = facts
        self._job = job
        self._config = config
        self._started = datetime.now(UTC)

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.facts |= {
            "state": "done" if kind is None else "failed",
            "error_class": kind.__name__ if kind else None,
            "finished_at": datetime.now(UTC),
        }
        append_run(
            self.tables,
            run_id=self.run_id,
            job=self._job,
            started_at=self._started,
            config=self._config.model_dump_json(by_alias=True),
            **self.facts,
        )


def append_run(tables: Tables, app: str | None = None, **facts: Any) -> None:
    """Append a row of `runs`, with `app` once only; columns that are not given are null."""
    values = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "code_version": spanlake.__version__,
        "spark_version": pyspark.__version__,
        **facts,
    }
    kinds = {f.name: f.dataType for f in TABLES["runs"].schema.fields}
    schema = T.StructType([T.StructField(name, kinds[name]) for name in values])
    tables.append("runs", tables.spark.createDataFrame([Row(**values)], schema), app, 1)


def retrying(action: Callable[[], Any]) -> Any:
    """Run a Delta command again, with growing pauses, while another writer gets in its way."""
    for attempt in range(ATTEMPTS):
        try:
            return action()
        except Exception as error:
            if not CONFLICT.search(str(error)[:500]) or attempt == ATTEMPTS - 1:
                raise
            time.sleep(0.5 * 2**attempt)
    return None

"""One row of `runs` per job run: opened with a heartbeat, closed with what the run did."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Callable
from types import TracebackType
from typing import Any

import pyspark
from pyspark.sql import Row

import spanlake
from spanlake.core.config import Model
from spanlake.spark.schemas import TABLES
from spanlake.spark.tables import Tables

log = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 60
CONFLICT = re.compile(r"concurrent|MetadataChanged|ProtocolChanged", re.IGNORECASE)
ATTEMPTS = 6  # two jobs may renew their rows of the same file at once: Delta lets one win


class Run:
    """A context manager around a job: `with Run(tables, "extract", config) as run: ...`.

    `run.facts` collects columns of `runs`; they are written when the run closes. An exception
    closes the run as failed with the exception's class (never its message) and passes on.
    """

    def __init__(self, tables: Tables, job: str, config: Model, **facts: Any) -> None:
        self.tables = tables
        self.run_id = uuid.uuid4().hex
        self.facts = facts
        self._job = job
        self._config = config
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Run:
        self.tables.ensure("runs")
        now = "current_timestamp() AS "
        values = {
            "run_id": self.run_id,
            "job": self._job,
            "state": "running",
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "config": self._config.model_dump_json(by_alias=True),
            "code_version": spanlake.__version__,
            "spark_version": pyspark.__version__,
            **self.facts,
        }
        row = self.tables.spark.createDataFrame([Row(**values)])
        times = row.selectExpr("*", now + "started_at", now + "heartbeat_at")
        self.tables.append("runs", times)
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=HEARTBEAT_SECONDS)
        state = "done" if kind is None else "failed"
        self.facts |= {"state": state, "error_class": kind.__name__ if kind else None}
        self._update(self.facts, "finished_at = current_timestamp()")

    def _beat(self) -> None:
        # A pool of its own: behind a wave's tasks a heartbeat could wait for half an hour.
        context = self.tables.spark.sparkContext
        context.setLocalProperty("spark.scheduler.pool", "heartbeat")
        while not self._stop.wait(HEARTBEAT_SECONDS):
            try:
                self._update({})
            except Exception as error:  # the next one may get through, and the work goes on
                log.warning("run %s: heartbeat failed (%s)", self.run_id, type(error).__name__)

    def _update(self, facts: dict[str, Any], *extra: str) -> None:
        sets = [f"{name} = {_literal(name, value)}" for name, value in facts.items()]
        sets += ["heartbeat_at = current_timestamp()", *extra]
        sql = f"UPDATE {self.tables.name('runs')} SET {', '.join(sets)}"
        with self._lock:
            retrying(lambda: self.tables.spark.sql(f"{sql} WHERE run_id = '{self.run_id}'"))


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


def _literal(name: str, value: Any) -> str:
    """Return a fact as SQL, through JSON for the nested ones."""
    kind = TABLES["runs"].schema[name].dataType.simpleString()
    if value is None:
        return f"CAST(NULL AS {kind})"
    if isinstance(value, list):
        return f"from_json('{json.dumps(value)}', '{kind}')"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace("'", "\\'")
        return f"'{escaped}'"
    return f"CAST({value} AS {kind})"

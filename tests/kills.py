"""For the tests: a job that ends as by SIGKILL, at a chosen commit, and how the next one ends."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from spanlake.spark import leases
from spanlake.spark.leases import Lease
from spanlake.spark.plan import last_plan
from spanlake.spark.tables import Tables

COMPARED = ("plan_units", "extractions", "entities", "relations", "note_status")
NO_PROCESS = "4194304"  # above the highest process id that Linux gives


class Killed(BaseException):
    """Stands for the end of the process: nothing of ours may catch it."""


class Commits:
    """Counts the commits of a job; from the `last`-th on it writes nothing, in any thread.

    `when` is `before` (the last one is not written) or `after`.
    """

    def __init__(self, patch: pytest.MonkeyPatch, last: int | None, when: str = "before") -> None:
        self.made: list[str] = []
        self.dead = False
        self._last, self._when, self._lock = last, when, threading.Lock()
        append, sql = Tables.append, SparkSession.sql

        def counted_append(tables, table, *more, **options):
            return self._commit(table, tables, lambda: append(tables, table, *more, **options))

        def counted_sql(spark, query, *more, **options):
            verb = query.split()[0]
            if verb not in ("DELETE", "MERGE", "UPDATE"):
                return sql(spark, query, *more, **options)
            return self._commit(verb, None, lambda: sql(spark, query, *more, **options))

        patch.setattr(Tables, "append", counted_append)
        patch.setattr(SparkSession, "sql", counted_sql)

    def _commit(self, what, tables, action):
        with self._lock:
            number = len(self.made)
            self.made.append(what)
            if self.dead or (number == self._last and self._when == "before"):
                self.dead = True
                raise Killed
        action()
        if number == self._last:
            self.dead = True
            raise Killed


class Progress(Commits):
    """Commits that Delta skips do not count: a restart repeats them."""

    def _commit(self, what, tables, action):
        if tables is None:
            return super()._commit(what, tables, action)
        with self._lock:
            if self.dead:
                raise Killed
        before = _versions(tables, what)
        action()
        with self._lock:
            self.made += [what] * (_versions(tables, what) > before)
            if self._last is not None and len(self.made) > self._last:
                self.dead = True
                raise Killed
        return None


def _versions(tables: Tables, table: str) -> int:
    return len(list(Path(tables.config.location).glob(f"{table}/_delta_log/*.json")))


@contextmanager
def dying(last: int | None, when: str = "before", kind: type[Commits] = Commits) -> Iterator:
    """Let a job die at a commit, and leave what SIGKILL leaves: its lease, and no row of its run.

    The lease names a process that is no more.
    """
    mine = leases.identity
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "identity", lambda: {**mine(), "pid": NO_PROCESS})
        patch.setattr(Lease, "__exit__", lambda lease, *_: lease._stop.set())
        yield kind(patch, last, when)


def content(tables: Tables) -> dict[str, list[str]]:
    """Return every row of the tables; what it took to read is no part of an answer."""
    rows = {name: tables.read(name).drop("timing").collect() for name in COMPARED}
    return {name: sorted(map(str, found)) for name, found in rows.items()}


def check_completed(tables: Tables, undisturbed: dict[str, list[str]]) -> None:
    """Every row is there once, each text was read once, and nothing is left of the plan."""
    assert content(tables) == undisturbed
    read = [bytes(row.unit_key) for row in tables.read("extractions").collect()]
    assert len(read) == len(set(read))
    for table in ("work", "derived"):
        assert not tables.exists(table) or tables.read(table).count() == 0, table
    _, is_open = last_plan(tables, tables.read("note_status").first().pipeline_fingerprint)
    assert not is_open
    assert not list(Path(tables.config.location).glob("_leases/*.json"))

"""Upkeep of the tables: compaction, plans that nobody ends, an older layout, texts to be erased."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pyspark.sql import functions as F

from spanlake.config.extract import ExtractConfig
from spanlake.errors import DataError, PlanError
from spanlake.spark.extract import record_lost
from spanlake.spark.infer import slots_of
from spanlake.spark.leases import owner_lives, remove
from spanlake.spark.plan import KEY, Plan, finish, heartbeats, last_plan, take_over
from spanlake.spark.runs import Run, retrying
from spanlake.spark.schemas import TABLES
from spanlake.spark.tables import Tables

log = logging.getLogger(__name__)

RETENTION_HOURS = 30 * 24  # `tables.PROPERTIES` says the same: so long a plan's pinned inputs live
CHECK = "spark.databricks.delta.retentionDurationCheck.enabled"
LISTING = "spark.sql.sources.parallelPartitionDiscovery.parallelism"
COMPACTED = (
    "notes", "extractions", "entities", "relations", "note_status", "plan_events", "runs",
)  # fmt: skip
OF_TEXTS = ("plan_units", "work", "derived", "entities", "relations", "note_status")
OF_PLANS = ("plan_units", "work", "derived")
# `sentences` is the last to go: as long as it is there, an upgrade that was killed starts again.
OLD_TABLES = (
    "plans", "work", "timings", "entities", "relations", "note_status", "sentences",
)  # fmt: skip

Report = dict[str, object]


def maintain(
    tables: Tables,
    config: ExtractConfig,
    *,
    hours: int = RETENTION_HOURS,
    abandon: str | None = None,
) -> Report:
    """Give up open plans (`abandon`: an id, or `all`), drop what is not needed, compact, VACUUM.

    Files that the tables have not named for `hours` are deleted. A plan is given up only when its
    owner is dead. Of `plan_units` stays, for each pipeline, the last plan of every text that
    `notes` has now. Returns what was done, by name. Raises PlanError for an open plan where `hours`
    is shorter than the life of the inputs that it pins.
    """
    _require(tables)
    with Run(tables, "maintain", config) as run:
        given_up = _abandon(tables, run.run_id, abandon) if abandon else []
        still_open = _open_plans(tables)
        for plan in still_open:
            log.info(
                "plan %s is open (run %s): extract with its configuration ends it, --abandon %s"
                " gives it up", plan.plan_id, plan.run_id, plan.plan_id,
            )  # fmt: skip
        if still_open and hours < RETENTION_HOURS:
            raise _pinned(still_open, f"--vacuum-hours {hours}")
        done: Report = {
            "plans given up": ", ".join(given_up) or "none",
            "plans open": ", ".join(plan.plan_id for plan in still_open) or "none",
            **{f"plans dropped from {name}": n for name, n in _drop_unneeded(tables).items()},
        }
        removed = added = 0
        for table in filter(tables.exists, COMPACTED):
            metrics = _changing(tables, f"OPTIMIZE {tables.name(table)}")["metrics"]
            removed, added = removed + metrics.numFilesRemoved, added + metrics.numFilesAdded
        done["files compacted"] = f"{removed} into {added}"
        _vacuum(tables, hours)
        done["older files are kept for"] = f"{hours} hours"
    return done


def purge(
    tables: Tables, config: ExtractConfig, *, answers: bool = False, now: bool = False
) -> Report:
    """Delete every row of texts that are no longer in `notes`: deleted or edited at the source.

    With `answers`, answers to units that are in no stored plan go as well; they hold no text. With
    `now`, the files that held the rows are deleted at once, those of `notes` included, which nobody
    may read or write meanwhile; else `maintain` deletes them when their retention is over. Returns
    the deleted rows by table. Raises PlanError while a plan is open: it pins the erased texts.
    """
    _require(tables)
    if still_open := _open_plans(tables):
        raise _pinned(still_open, "purge")
    with Run(tables, "purge", config):
        done: Report = {
            f"rows deleted from {table}": _delete_without(tables, table, "notes", KEY)
            for table in filter(tables.exists, OF_TEXTS)
        }
        if answers and tables.exists("extractions"):
            if not tables.exists("plan_units") or not tables.read("plan_units").limit(1).count():
                raise PlanError(
                    "--answers: no plan is stored, so that no answer is known to be needed: run"
                    " extract first"
                )
            gone = _delete_without(tables, "extractions", "plan_units", ["unit_key"])
            done["rows deleted from extractions"] = gone
        if now:
            for table in filter(tables.exists, ("notes", *OF_TEXTS, "extractions")):
                # rows that a deletion vector hides are still in their file
                _changing(tables, f"REORG TABLE {tables.name(table)} APPLY (PURGE)")
            _vacuum(tables, 0)
        done["files that held the rows"] = (
            "deleted" if now else f"kept until maintain finds them {RETENTION_HOURS} hours old"
        )
    return done


def upgrade(tables: Tables) -> bool:
    """Rewrite tables of an older layout; tell whether there were any.

    `notes`, `runs`, gold and scores stay, `extractions` is rewritten in place, and the next extract
    derives everything else from it, without reading a text again. Safe to repeat when it was
    killed. Raises PlanError while a run of the older code seems to live.
    """
    tables.require("notes")
    tables.require_log_store()
    if not tables.is_old():
        return False
    _keep_runs(tables)
    _rewrite_answers(tables)
    for table in OLD_TABLES:
        _drop(tables, table)
        log.info("dropped the older table %s", table)
    return True


def _require(tables: Tables) -> None:
    tables.require("notes")
    tables.require_log_store()
    tables.require_layout()


def _pinned(plans: Iterable[Plan], what: str) -> PlanError:
    named = ", ".join(f"{plan.plan_id} (notes version {plan.notes_version})" for plan in plans)
    return PlanError(
        f"{what}: open plans need older versions of notes: {named}. Finish them with extract, or"
        " give them up with `spanlake maintain --abandon PLAN_ID`"
    )


def _changing(tables: Tables, statement: str) -> Any:
    """Run a statement that changes a table, again where another writer was in its way."""
    return retrying(partial(_first_row, tables, statement))


def _first_row(tables: Tables, statement: str) -> Any:
    rows = tables.spark.sql(statement).collect()
    return rows[0] if rows else None


# Plans


def _open_plans(tables: Tables) -> list[Plan]:
    """Return the open plans of all pipelines."""
    if not tables.exists("plan_events"):
        return []
    pipelines = tables.read("plan_events").select("pipeline_fingerprint").distinct().collect()
    last = [last_plan(tables, row.pipeline_fingerprint) for row in sorted(pipelines)]
    return [plan for plan, is_open in last if plan is not None and is_open]


def _abandon(tables: Tables, run_id: str, which: str) -> list[str]:
    """Give up one open plan, or all whose owners are dead; return their ids."""
    plans = _open_plans(tables)
    chosen = [plan for plan in plans if which in ("all", plan.plan_id)]
    if not chosen and which != "all":
        ids = ", ".join(plan.plan_id for plan in plans) or "none"
        raise PlanError(f"--abandon: no open plan {which}; open: {ids}")
    given_up = []
    for plan in chosen:
        if owner_lives(tables, plan.run_id, partial(heartbeats, tables, plan), wait=True):
            living = f"plan {plan.plan_id} is being worked on by run {plan.run_id}"
            if which != "all":
                raise PlanError(f"--abandon: {living}")
            log.info("%s", living)
            continue
        owned_plan = take_over(tables, plan, run_id)
        remove(tables, plan.run_id)
        record_lost(tables, plan.run_id)
        finish(tables, owned_plan, "abandoned")
        given_up.append(plan.plan_id)
    return given_up


def _drop_unneeded(tables: Tables) -> dict[str, int]:
    """Delete rows of ended plans: of `plan_units` those that no text of `notes` has as its last."""
    stored = {
        table: {row[0] for row in tables.read(table).select("plan_id").distinct().collect()}
        for table in filter(tables.exists, OF_PLANS)
    }
    # Looked up after the ids: a plan that is claimed from now on is not among them.
    still_open = {plan.plan_id for plan in _open_plans(tables)}
    last = _last_plans(tables) if stored.get("plan_units") else set()
    dropped = {}
    for table, ids in stored.items():
        gone = sorted(ids - still_open - (last if table == "plan_units" else set()))
        dropped[table] = len(gone)
        if gone:
            named = ", ".join(f"'{plan_id}'" for plan_id in gone)
            _changing(tables, f"DELETE FROM {tables.name(table)} WHERE plan_id IN ({named})")
    return dropped


def _last_plans(tables: Tables) -> set[str]:
    """Return the plans that are, for a text that `notes` has now, the last of a pipeline."""
    events = tables.read("plan_events").where(F.col("event") == "claimed")
    plans = events.select("plan_id", "plan_number", "pipeline_fingerprint")
    texts = tables.read("plan_units").where("coalesce(sentence_index, 0) = 0")
    now = texts.select("plan_id", *KEY).join(tables.read("notes").select(*KEY), KEY, "left_semi")
    last = now.join(F.broadcast(plans), "plan_id").groupBy("pipeline_fingerprint", *KEY)
    last_plans = last.agg(F.max_by("plan_id", "plan_number").alias("plan_id"))
    return {row.plan_id for row in last_plans.select("plan_id").distinct().collect()}


# Rows and files


def _delete_without(tables: Tables, table: str, other: str, key: list[str]) -> int:
    """Delete the rows of a table whose key another table does not have; return how many."""
    name, on = tables.name(table), " AND ".join(f"t.{column} <=> g.{column}" for column in key)
    columns = ", ".join(f"t.{column}" for column in key)
    gone = f"SELECT DISTINCT {columns} FROM {name} t LEFT ANTI JOIN {tables.name(other)} g ON {on}"
    merge = f"MERGE INTO {name} t USING ({gone}) g ON {on} WHEN MATCHED THEN DELETE"
    return int(_changing(tables, merge)["num_deleted_rows"])


def _vacuum(tables: Tables, hours: int) -> None:
    """Delete the files that a table has not named for so long."""
    conf = tables.spark.conf
    # Delta lists a table's files by as many tasks as this says: 10,000, which take 40 s a table.
    settings = {LISTING: str(8 * slots_of(tables.spark))}
    if hours < RETENTION_HOURS:
        settings[CHECK] = "false"
    before = {key: conf.get(key, None) for key in settings}
    for key, value in settings.items():
        conf.set(key, value)
    try:
        for table in filter(tables.exists, TABLES):
            tables.spark.sql(f"VACUUM {tables.name(table)} RETAIN {hours} HOURS").collect()
    finally:
        for key, old in before.items():
            conf.unset(key) if old is None else conf.set(key, old)


# An older layout


def _keep_runs(tables: Tables) -> None:
    """Let `runs` take rows of ours; those that a killed run of the older code left are `lost`."""
    if not tables.exists("runs") or "heartbeat_at" not in tables.read("runs").columns:
        return
    recent = "state = 'running' AND heartbeat_at > current_timestamp() - INTERVAL 30 MINUTES"
    if running := tables.read("runs").where(recent).limit(1).collect():
        raise PlanError(
            f"run {running[0].run_id} of the older code renewed its row less than 30 minutes ago:"
            " upgrade when it has ended"
        )
    runs = tables.name("runs")
    tables.spark.sql(f"ALTER TABLE {runs} ALTER COLUMN heartbeat_at DROP NOT NULL")
    _changing(tables, f"UPDATE {runs} SET state = 'lost' WHERE state = 'running'")


def _rewrite_answers(tables: Tables) -> None:
    """Replace the older `extractions` by one of our layout, then copy the older version into it.

    The place stays, and Delta keeps the older version: a copy that was killed is made again, and
    one that was made is skipped by its transaction.
    """
    if not tables.exists("extractions"):
        return
    if "unit_sha256" in tables.read("extractions").columns:
        tables.replace_empty("extractions")
    history = tables.spark.sql(f"DESCRIBE HISTORY {tables.name('extractions')}")
    replaced = history.where(F.col("operation") == "REPLACE TABLE").agg(F.min("version"))
    first = replaced.collect()[0][0]
    if first is None:
        return
    old = tables.read("extractions", first - 1)
    key = F.unhex(F.substring("unit_sha256", 1, 32)).alias("unit_key")
    tables.append("extractions", old.select(key, *old.columns), "upgrade:extractions", 1)
    log.info("extractions: the answers are copied into the new layout")


def _drop(tables: Tables, table: str) -> None:
    name = tables.name(table)
    if tables.config.database is not None:
        tables.spark.sql(f"DROP TABLE IF EXISTS {name}")
        return
    place = name.removeprefix("delta.`").rstrip("`")
    if "://" in place or place.startswith("dbfs:"):
        _delete_remote(tables, place)
    elif Path(place).is_dir():
        for path in Path(place).iterdir():
            if path.name != "_delta_log":  # the last to go: what is left is still a table
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(place)


def _delete_remote(tables: Tables, place: str) -> None:
    spark: Any = tables.spark
    try:
        path = spark._jvm.org.apache.hadoop.fs.Path(place)
        path.getFileSystem(spark._jsc.hadoopConfiguration()).delete(path, True)
    except AttributeError:  # Spark Connect shows no JVM
        raise DataError(
            f"{place} cannot be deleted through Spark Connect: delete this folder by other means,"
            " and start the upgrade again"
        ) from None

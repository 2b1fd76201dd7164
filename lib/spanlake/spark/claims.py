"""Plans as rows: their header, which run owns them, and how they end.

A plan belongs to one run at a time. Another may take it over only when that run is over or dead.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass, replace
from functools import partial

from pyspark.sql import Row
from pyspark.sql import functions as F

from spanlake.core.config import ExtractConfig
from spanlake.core.errors import PlanError
from spanlake.spark.runs import CONFLICT, Run, retrying
from spanlake.spark.tables import Tables


@dataclass(frozen=True, slots=True)
class Plan:
    """The header of a stored plan: one row of `plans`."""

    plan_id: str
    plan_number: int
    pipeline_fingerprint: str
    model_fingerprint: str
    run_id: str
    notes_version: int
    sentences_version: int
    where: str | None
    slices: int
    units_per_task: int
    notes: int
    units: int
    units_distinct: int
    units_planned: int


HEADER = [*Plan.__slots__]


def unfinished(tables: Tables, pipeline: str) -> Plan | None:
    """Return the pipeline's plan that has not been finished, if there is one."""
    tables.ensure("plans")
    rows = tables.read("plans").where(
        (F.col("pipeline_fingerprint") == pipeline) & F.col("finished_at").isNull()
    )
    found = rows.orderBy("plan_number").select(*HEADER).collect()
    return Plan(**found[0].asDict()) if found else None


def claim(tables: Tables, plan: Plan) -> None:
    """Write the header; Delta skips the second of two equal claims, so read back who won."""
    header = Row(**{name: getattr(plan, name) for name in HEADER})
    schema = tables.read("plans").select(*HEADER).schema
    rows = tables.spark.createDataFrame([header], schema)
    rows = rows.withColumn("created_at", F.current_timestamp())
    app = f"plans:{plan.pipeline_fingerprint}"
    try:
        tables.append("plans", rows, app, plan.plan_number)
    except Exception as error:
        if not CONFLICT.search(str(error)[:500]):
            raise
    require_owner(tables, plan, plan.run_id)


def require_owner(tables: Tables, plan: Plan, run_id: str) -> None:
    """Raise PlanError unless the plan belongs to the run: another may have taken it over."""
    owners = tables.read("plans").where(F.col("plan_id") == plan.plan_id).select("run_id").collect()
    if [row.run_id for row in owners] != [run_id]:
        raise PlanError(
            f"plan {plan.plan_id} belongs to run {owners[0].run_id if owners else 'unknown'}, which"
            " claimed it. Wait for it to finish, then start again"
        )


def take_over(tables: Tables, plan: Plan, run: Run, config: ExtractConfig) -> Plan:
    """Make `run` the owner of an unfinished plan whose run is over or dead; return the plan.

    A run is dead when its process is gone from this host, or its heartbeat is older than
    `stale_minutes`. Raises PlanError while it lives.
    """
    if plan.run_id != run.run_id and _alive(tables, plan.run_id, config.stale_minutes):
        raise PlanError(
            f"plan {plan.plan_id} is being worked on by run {plan.run_id}. Wait for it to finish;"
            f" if it has died, start again {config.stale_minutes} minutes after its last heartbeat"
        )
    update = f"UPDATE {tables.name('plans')} SET run_id = '{run.run_id}'"
    condition = f"plan_id = '{plan.plan_id}' AND run_id = '{plan.run_id}'"
    retrying(lambda: tables.spark.sql(f"{update} WHERE {condition}"))
    require_owner(tables, plan, run.run_id)
    return replace(plan, run_id=run.run_id)


def _alive(tables: Tables, run_id: str, stale_minutes: int) -> bool:
    fresh = F.col("heartbeat_at") > F.expr(
        f"current_timestamp() - INTERVAL {stale_minutes} MINUTES"
    )
    found = tables.read("runs").where((F.col("run_id") == run_id) & (F.col("state") == "running"))
    rows = found.where(fresh).select("host", "pid").collect()
    if rows and rows[0].host == socket.gethostname():
        return _process_exists(rows[0].pid)
    return bool(rows)


def _process_exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def abandon(tables: Tables, plan: Plan, derived: set[int]) -> None:
    """Give a plan up: rows that were never published go, answers and published slices stay."""
    done = ", ".join(map(str, sorted(derived))) or "-1"
    for table in ("entities", "relations"):
        gone = f"plan_id = '{plan.plan_id}' AND slice NOT IN ({done})"
        retrying(partial(tables.spark.sql, f"DELETE FROM {tables.ensure(table)} WHERE {gone}"))
    finish(tables, plan)


def finish(tables: Tables, plan: Plan) -> None:
    """Close the plan and drop its work."""
    by_plan = f"WHERE plan_id = '{plan.plan_id}'"
    sql = tables.spark.sql
    retrying(lambda: sql(f"DELETE FROM {tables.name('work')} {by_plan}"))
    close = f"UPDATE {tables.name('plans')} SET finished_at = current_timestamp() {by_plan}"
    retrying(lambda: sql(close))

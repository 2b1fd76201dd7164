"""Which pipeline's rows the views show: one at a time, and a trial never by itself."""

from __future__ import annotations

import json
import logging
from typing import Any, Literal

from pyspark.sql import functions as F

from spanlake.config.extract import ExtractConfig
from spanlake.config.extractors import RENAMED_KEYS
from spanlake.spark.plan import Plan, record
from spanlake.spark.tables import TERMINAL, Tables

log = logging.getLogger(__name__)

Standing = Literal["shown", "next", "behind", "other"]

# Of the section `extractor`, what may differ between a pipeline and its successor: where and how
# fast it reads.
ELSEWHERE = ("device", "max_tokens_per_batch")


def publish_pipeline(tables: Tables, plan: Plan, config: ExtractConfig, *, force: bool) -> bool:
    """Make the plan's pipeline the one that the views show, if it is to be; tell whether it is.

    The first pipeline is shown. One with the same section `extractor` and newer code or weights is
    its successor, and shown when it has a terminal status for every note that the shown one has.
    Any other is a trial, which `force` (`--publish`) makes the shown one.
    """
    pipeline_standing = standing(tables, plan.pipeline_fingerprint, config)
    if pipeline_standing == "shown":
        return True
    if force or pipeline_standing == "next":
        record(tables, plan, "published", f"published:{plan.plan_id}:{plan.run_id}")
        log.info("the views show pipeline %s from now on", plan.pipeline_fingerprint[:16])
        return True
    why = {
        "behind": "this one has not ended all of its notes yet",
        "other": "--publish shows this one",
    }
    log.info("the views still show another pipeline: %s", why[pipeline_standing])
    return False


def standing(tables: Tables, pipeline: str, config: ExtractConfig) -> Standing:
    """Tell where a pipeline stands: shown, next (to be shown), behind (its notes), or other."""
    shown = _shown(tables)
    if shown == pipeline:
        return "shown"
    if not _same(_section(tables, shown), config.extractor.model_dump(mode="json")):
        return "other"
    return "next" if _complete(tables, shown, pipeline) else "behind"


def _shown(tables: Tables) -> str:
    """Return the pipeline that the views show."""
    events = tables.read("plan_events")
    row = events.agg(
        F.max_by("pipeline_fingerprint", F.when(F.col("event") == "published", F.col("at"))),
        F.min_by("pipeline_fingerprint", "at"),
    ).collect()[0]
    return str(row[0] or row[1])


def _section(tables: Tables, pipeline: str) -> dict[str, Any]:
    """Return the section `extractor` with which a pipeline made its last plan."""
    events = tables.read("plan_events").where(F.col("pipeline_fingerprint") == pipeline)
    claimed = events.where(F.col("event") == "claimed")
    section = claimed.agg(F.max_by("extractor", "at")).collect()[0][0]
    given = json.loads(section or "{}")
    return {RENAMED_KEYS.get(key, key): value for key, value in given.items()}


def _same(section: dict[str, Any], other: dict[str, Any]) -> bool:
    keys = (section.keys() & other.keys()) - {*ELSEWHERE}  # a version may add keys
    return all(section.get(key) == other.get(key) for key in keys)


def _complete(tables: Tables, shown: str, pipeline: str) -> bool:
    """Tell whether a pipeline has ended every note, as it is now, that the shown one has ended."""
    status = tables.read("note_status").where(f"state IN {TERMINAL}")
    notes = tables.read("notes").select("note_id", "text_sha256")

    def ended(of: str) -> Any:
        keys = status.where(F.col("pipeline_fingerprint") == of)
        return keys.select("note_id", "text_sha256").distinct()

    on = ["note_id", "text_sha256"]
    left = ended(shown).join(notes, on, "left_semi").join(ended(pipeline), on, "left_anti")
    return left.limit(1).count() == 0

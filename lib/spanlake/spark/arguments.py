"""What all jobs share at their start: `--config`, `--set`, logging, errors as exit codes."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from spanlake.config.base import told_keys
from spanlake.errors import SpanlakeError
from spanlake.models.loading import missing_packages

TRAINING = ("torch", "transformers", "accelerate", "safetensors")  # the extra `train`


def parser(
    description: str, configs: str, *kinds: type[BaseModel], config_required: bool = True
) -> argparse.ArgumentParser:
    """Return a parser that knows `--config FILE` and `--set key.sub=value` (repeatable).

    Its help names the files that fit (`configs`, for instance ``conf/ingest_*.yml``) and the keys
    of the configurations `kinds`.
    """
    made = argparse.ArgumentParser(
        description=description,
        epilog=told_keys(*kinds),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("--config", required=config_required, metavar="FILE", help=configs)
    made.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", dest="overrides",
        help="override one key of the configuration; may be repeated",
    )  # fmt: skip
    return made


def run_job(job: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    """Run a job and return its exit code: 1 with one clear line for an error of ours."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("spanlake").setLevel(logging.INFO)
    try:
        return _run(job, arguments)
    except SpanlakeError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
    except OSError as error:
        if error.filename is None:
            raise
        sys.stderr.write(f"{error.filename}: {error.strerror} ({type(error).__name__})\n")
    return 1


def _run(job: Callable[[argparse.Namespace], int], arguments: argparse.Namespace) -> int:
    try:
        return job(arguments)
    except ModuleNotFoundError as error:
        if error.name not in TRAINING:
            raise
        raise missing_packages("train", error.name) from None


def print_training(metrics: Mapping[str, Any], to: str) -> int:
    """Print what a training reports and where its model is; return the exit code of success."""
    sys.stdout.write(f"{json.dumps(metrics, indent=2)}\nmodel: {to}\n")
    return 0


def table_of(rows: Sequence[tuple[str, object]]) -> str:
    """Return two aligned columns, one row a line."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)

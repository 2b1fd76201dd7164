"""`jobs/extract.py` with a unit that kills who reads it, once: a worker or its executor.

spark-submit tests/dying_worker.py DEATH TEXT MARK (the job's arguments)

DEATH is `exits` (the worker ends by itself), `killed` (it gets SIGKILL, as for want of memory) or
`executor` (its JVM gets SIGKILL). The file MARK is made first.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from spanlake.spark import infer

read_units_of = infer.reader_of


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])


def die(death: str, mark: str) -> None:
    try:
        os.close(os.open(mark, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    if death == "exits":
        os._exit(1)
    victim = os.getpid()
    if death == "executor":
        victim = parent_of(os.getppid())  # worker, its daemon, the JVM
        command = Path(f"/proc/{victim}/cmdline").read_bytes()
        assert b"CoarseGrainedExecutorBackend" in command, command
    os.kill(victim, signal.SIGKILL)
    signal.pause()


def dying_reader_of(config_json: str, fingerprint: str) -> object:
    death, text, mark = sys.argv[1:4]
    read = read_units_of(config_json, fingerprint)

    def dying(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            if text in batch.column("target").to_pylist():
                die(death, mark)
            yield batch

    return lambda batches: read(dying(batches))


if __name__ == "__main__":
    infer.reader_of = dying_reader_of  # type: ignore[assignment]
    job = runpy.run_path(str(Path(__file__).parents[1] / "jobs" / "extract.py"))
    sys.exit(job["main"](sys.argv[4:]))

"""`jobs/extract.py` with units that kill who reads them, once each.

spark-submit tests/dying_worker.py FOLDER (the job's arguments)

A worker ends by itself, another gets SIGKILL, as for want of memory, and the JVM of a third one's
executor gets it. Each leaves a file of its name in the folder.
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

DEATHS = {
    "No fever on day 12000.": "exits",
    "No fever on day 20000.": "killed",
    "No fever on day 30000.": "executor",
}
reader_of = infer.reader_of


def parent_of(pid: int) -> int:
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    return int(stat.rpartition(")")[2].split()[1])


def die(death: str, folder: str) -> None:
    try:
        os.close(os.open(f"{folder}/{death}", os.O_CREAT | os.O_EXCL))
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
    folder = sys.argv[1]
    read = reader_of(config_json, fingerprint)

    def dying(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            for text in DEATHS.keys() & set(batch.column("target").to_pylist()):
                die(DEATHS[text], folder)
            yield batch

    return lambda batches: read(dying(batches))


if __name__ == "__main__":
    infer.reader_of = dying_reader_of  # type: ignore[assignment]
    job = runpy.run_path(str(Path(__file__).parents[1] / "jobs" / "extract.py"))
    sys.exit(job["main"](["extract", *sys.argv[2:]]))

"""Who works on a plan: a lease that its owner renews, so that a restart can tell a dead owner.

Where `tables.location` (or `tables.lease_dir`: NFS, /Volumes) is a folder that the driver can open,
the lease is a file there with a counter that the owner raises every few seconds, one file a run, so
that one which was taken for dead and wakes up harms none but its own; elsewhere it is an event
`heartbeat` in `plan_events` every five minutes. Nobody's clock is compared with another's: a
watcher looks whether the counter moves, by its own clock. On the owner's own machine the process is
looked for, by boot, process namespace and start time, so that equal host names and recycled process
ids do not deceive.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

from spanlake.spark.tables import Tables

log = logging.getLogger(__name__)

FILE_SECONDS = 10.0  # between two renewals of a file
EVENT_SECONDS = 300.0  # between two events
MISSED = 3  # renewals that a dead owner has missed


def identity() -> dict[str, str]:
    """Return what tells this process from every other, on this machine and elsewhere."""
    owner = {"host": socket.gethostname(), "pid": str(os.getpid())}
    with suppress(OSError, IndexError):
        owner["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        owner["namespace"] = os.readlink("/proc/self/ns/pid")
        owner["started"] = _start_time(os.getpid())
    return owner


def _start_time(pid: int) -> str:
    """Return when a process started, in ticks since the boot; raises OSError for none.

    One that has ended stays in /proc, as a zombie, until its parent asks for its exit code.
    """
    stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    state, *fields = stat.rpartition(")")[2].split()
    if state in ("Z", "X"):
        raise ProcessLookupError(pid)
    return fields[18]


def is_alive(owner: dict[str, str]) -> bool | None:
    """Tell whether a process lives; None where that cannot be seen from here."""
    this_process = identity()
    same = [name for name in ("boot", "namespace") if owner.get(name) == this_process.get(name, "")]
    if len(same) < 2:
        return None
    try:
        return _start_time(int(owner["pid"])) == owner["started"]
    except (OSError, IndexError, KeyError, ValueError):
        return False


class Lease:
    """A context manager: the run shows that it lives while it is open, before it claims a plan.

    `renew` raises the counter once; a thread calls it. Closing removes the file.
    """

    def __init__(self, tables: Tables, run_id: str, beat: Callable[[], None]) -> None:
        self.path = _path(tables, run_id)
        self._beat = beat
        self._content: dict[str, Any] = {"run_id": run_id, "owner": identity(), "count": 0}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._renew_until_closed, daemon=True)

    def __enter__(self) -> Lease:
        if self.path:
            self.renew()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join(timeout=FILE_SECONDS)
        if self.path:
            with suppress(OSError):
                self.path.unlink()

    def renew(self) -> None:
        """Raise the counter."""
        if self.path is None:
            self._beat()
            return
        self._content["count"] += 1
        self.path.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        temporary.write_text(json.dumps(self._content), encoding="utf-8")
        temporary.replace(self.path)

    def _renew_until_closed(self) -> None:
        while not self._stop.wait(FILE_SECONDS if self.path else EVENT_SECONDS):
            try:
                self.renew()
            except Exception as error:  # the next one may get through, and the work goes on
                log.warning("lease not renewed (%s)", type(error).__name__)


def owner_lives(
    tables: Tables, run_id: str, beats: Callable[[], int], *, wait: bool
) -> bool | None:
    """Tell whether a plan's owner lives; None where only waiting would tell and `wait` is off.

    `beats` counts the owner's heartbeat events. Waits for `MISSED` renewals at most.
    """
    path = _path(tables, run_id)
    if path is None:
        return _moves(beats, EVENT_SECONDS) if wait else None
    lease = _read(path)
    if lease is None:
        return False
    alive = is_alive(lease.get("owner", {}))
    if alive is None and wait:
        log.info("run %s is elsewhere: watching its lease", run_id)
        return _moves(lambda: (_read(path) or {}).get("count", -1), FILE_SECONDS)
    return alive


def _moves(count: Callable[[], int], seconds: float) -> bool:
    first, until = count(), time.monotonic() + MISSED * seconds
    while time.monotonic() < until:
        time.sleep(seconds / 2)
        now = count()
        if now < 0:  # the lease was given back
            return False
        if now != first:
            return True
    return False


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        return {}


def dead_runs(tables: Tables) -> list[str]:
    """Return the runs of this machine's dead processes that have left a lease, with a plan or not.

    Leases of other machines are left to whoever takes their plans over.
    """
    path = _path(tables, "")
    paths = sorted(path.parent.glob("*.json")) if path else []
    return [p.stem for p in paths if is_alive((_read(p) or {}).get("owner", {})) is False]


def remove(tables: Tables, run_id: str) -> None:
    """Remove the lease of a dead run, if it has left one."""
    if path := _path(tables, run_id):
        with suppress(OSError):
            path.unlink()


def _path(tables: Tables, run_id: str) -> Path | None:
    folder = tables.config.lease_dir or tables.config.location
    if folder is None or "://" in folder or folder.startswith("dbfs:"):
        return None
    return Path(folder) / "_leases" / f"{run_id}.json"

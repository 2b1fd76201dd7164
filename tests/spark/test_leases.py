"""A living owner is told from a dead one, without anybody's clock and without Spark."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time

import pytest

from spanlake.config.extract import TablesConfig
from spanlake.spark import leases
from spanlake.spark.leases import Lease, dead_runs, identity, is_alive, owner_lives, remove
from spanlake.spark.tables import Tables


@pytest.fixture
def tables(tmp_path):
    return Tables(None, TablesConfig(location=str(tmp_path / "tables")))


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(leases, "FILE_SECONDS", 0.1)
    monkeypatch.setattr(leases, "EVENT_SECONDS", 0.1)


def no_beats():
    return 0


def lives(tables, run_id="r", *, wait=False):
    return owner_lives(tables, run_id, no_beats, wait=wait)


def file_of(tables, run_id="r"):
    return leases._path(tables, run_id)


def stored(tables, owner):
    file_of(tables).parent.mkdir(parents=True, exist_ok=True)
    file_of(tables).write_text(json.dumps({"owner": owner, "count": 1}), encoding="utf-8")


def test_the_counter_of_an_open_lease_moves_and_its_file_goes_with_it(tables):
    with Lease(tables, "r", pytest.fail) as lease:
        first = json.loads(lease.path.read_text())["count"]
        assert lives(tables) is True
        deadline = time.monotonic() + 20
        while json.loads(lease.path.read_text())["count"] == first:
            assert time.monotonic() < deadline
            time.sleep(0.05)
    assert lives(tables) is False
    assert not list(lease.path.parent.iterdir()), "neither lease nor temporary file is left"


def test_runs_have_leases_of_their_own(tables):
    """So a stale owner that ends takes nobody else's with it."""
    with Lease(tables, "new", no_beats):
        with Lease(tables, "old", no_beats):
            pass
        assert lives(tables, "new") is True
        remove(tables, "old")  # there is none: no matter
    stored(tables, {})
    remove(tables, "r")
    assert not file_of(tables).exists()


def test_runs_of_this_machine_s_dead_processes_are_found(tables):
    assert dead_runs(tables) == []
    stored(tables, {**identity(), "pid": "4194304"})
    with Lease(tables, "new", pytest.fail):
        assert dead_runs(tables) == ["r"]
    stored(tables, {"boot": "another"})
    assert dead_runs(tables) == [], "whether a process elsewhere lives is not seen from here"


def test_a_recycled_process_id_is_another_process():
    assert is_alive(identity()) is True
    assert is_alive({**identity(), "started": "1"}) is False
    assert is_alive({**identity(), "pid": "4194304"}) is False


@pytest.mark.parametrize("other", [{"boot": "b"}, {"namespace": "pid:[1]"}])
def test_an_equal_host_name_is_not_the_same_machine(other):
    """Containers of one image have one host name, and each a process of our id."""
    assert is_alive({**identity(), **other, "pid": "4194304"}) is None


def test_a_process_that_nobody_has_waited_for_is_dead():
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    owner = {**identity(), "pid": str(child.pid), "started": leases._start_time(child.pid)}
    assert is_alive(owner) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # leaves the zombie
    assert is_alive(owner) is False
    child.wait()
    assert is_alive(owner) is False


def test_an_owner_elsewhere_is_watched_only_where_that_is_asked_for(tables):
    stored(tables, {"host": "elsewhere", "pid": "1", "boot": "b", "namespace": "n"})
    assert lives(tables) is None
    assert lives(tables, wait=True) is False, "its counter stands still"


def test_an_owner_elsewhere_lives_while_its_counter_moves_whatever_its_clock(tables):
    stored(tables, {"boot": "b", "namespace": "n"})
    stop = threading.Event()

    def renew():
        for count in range(2, 10**6):
            if stop.wait(0.03):
                return
            new = file_of(tables).with_suffix(".new")
            new.write_text(json.dumps({"owner": {"boot": "b"}, "count": count}))
            os.utime(new, (0, 0))
            new.replace(file_of(tables))

    thread = threading.Thread(target=renew)
    thread.start()
    try:
        assert lives(tables, wait=True) is True
    finally:
        stop.set()
        thread.join()


def test_a_lease_that_is_given_back_while_it_is_watched_is_no_longer_held(tables, monkeypatch):
    monkeypatch.setattr(leases, "FILE_SECONDS", 30)
    stored(tables, {"boot": "b"})
    monkeypatch.setattr(time, "sleep", lambda _: file_of(tables).unlink())
    assert lives(tables, wait=True) is False


@pytest.mark.parametrize("place", [{"schema": "s"}, {"location": "s3a://bucket/tables"}])
def test_where_no_file_can_be_opened_heartbeats_are_counted(place):
    tables = Tables(None, TablesConfig.model_validate(place))
    beats = []
    with Lease(tables, "r", lambda: beats.append(1)) as lease:
        assert lease.path is None
        assert owner_lives(tables, "r", lambda: len(beats), wait=False) is None
        assert owner_lives(tables, "r", lambda: len(beats), wait=True) is True
    assert owner_lives(tables, "r", lambda: len(beats), wait=True) is False


def test_a_folder_for_leases_serves_tables_elsewhere(tmp_path):
    place = {"location": "s3a://bucket/tables", "lease_dir": str(tmp_path)}
    tables = Tables(None, TablesConfig.model_validate(place))
    with Lease(tables, "r", pytest.fail) as lease:
        assert lease.path.parent.parent == tmp_path
        assert lives(tables) is True


def test_an_unwritable_lease_stops_no_work(tables, monkeypatch, caplog):
    with Lease(tables, "r", pytest.fail) as lease:
        lease.path.unlink()
        lease.path.mkdir()
        time.sleep(0.5)
        assert lease._thread.is_alive()
        lease.path.rmdir()
    assert "lease not renewed" in caplog.text

"""A process keeps to one core at a time, and leaves it to whoever needs it more."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from ngshare import affinity
from ngshare.affinity import LOOK_SECONDS, OneCore, busy, choose
from tests.process.site import Server, Site, wait_for
from tests.require import require

CORES = sorted(os.sched_getaffinity(0))


@pytest.fixture(autouse=True)
def two_cores() -> None:
    require(len(CORES) > 1, "a second core", "run the tests on a machine with two")


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    yield site
    site.close()


@pytest.mark.parametrize(
    ("used", "core", "expected"),
    [
        ({0: 0.9, 1: 0.1}, None, 1),
        ({0: 0.1, 1: 0.0}, 0, 0),
        ({0: 0.9, 1: 0.0}, 0, 1),
        ({1: 0.9, 3: 0.8}, 1, 1),
        ({0: 0.2, 1: 0.0}, 0, 1),
        ({0: 0.2, 1: 0.1}, 7, 1),
    ],
    ids=[
        *("at first", "not worth it", "worth it", "both are busy", "a little is worth it"),
        "one that may not be used now",
    ],
)
def test_where_to_be(used: dict[int, float], core: int | None, expected: int) -> None:
    assert choose(used, core) == expected


def test_how_busy_a_core_was() -> None:
    assert busy({0: (100, 1000)}, {0: (150, 1100), 1: (1, 4)}) == {0: 0.5, 1: 0.25}


@pytest.mark.parametrize(
    ("working", "others", "moves"),
    [(0.9, 0.0, False), (0.3, 0.05, False), (0.3, 0.2, True), (0.01, 0.9, False)],
    ids=["alone", "beside next to nothing", "beside another", "idle"],
)
def test_who_works_makes_room_for_others(
    working: float, others: float, moves: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = CORES[:2]
    moments = iter([0, 1])
    own = iter([0.0, working])
    ticks = iter(
        [
            dict.fromkeys(CORES, (0, 0)),
            {
                **dict.fromkeys(CORES, (100, 100)),
                here: (round(100 * (working + others)), 100),
                there: (0, 100),
            },
        ]
    )
    monkeypatch.setattr(affinity, "time", SimpleNamespace(monotonic=lambda: next(moments)))
    monkeypatch.setattr(affinity, "_own_seconds", lambda: next(own))
    monkeypatch.setattr(affinity, "_read_ticks", lambda: next(ticks))
    monkeypatch.setattr(OneCore, "_move_to", lambda one_core, cores: None)
    one_core = OneCore()
    one_core.core = here
    one_core.look()
    assert one_core.core == (there if moves else here)


def cores_of(pid: int) -> list[set[int]]:
    """The cores that each thread of a process may use."""
    return [os.sched_getaffinity(int(task.name)) for task in Path(f"/proc/{pid}/task").iterdir()]


def test_every_thread_moves() -> None:
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    one_core = OneCore()
    try:
        one_core.look()
        assert one_core.core in CORES
        assert {frozenset(cores) for cores in cores_of(os.getpid())} == {frozenset([one_core.core])}
    finally:
        one_core.leave()
        end.set()
        other.join()
    assert os.sched_getaffinity(0) == set(CORES)


def test_a_core_of_which_nothing_is_known_is_not_gone_to(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a container whose /proc/stat has fewer cores, or other numbers, than the system."""
    ticks = affinity._read_ticks()
    monkeypatch.setattr(affinity, "_read_ticks", lambda: {CORES[0]: ticks[CORES[0]]})
    one_core = OneCore()
    try:
        for _ in range(20):
            one_core.look()
            assert one_core.core is None
            assert os.sched_getaffinity(0) == set(CORES)
        one_core._move_to({CORES[0]})
        one_core.core = CORES[0]
        one_core.look()  # it was not so before
        assert os.sched_getaffinity(0) == set(CORES)
    finally:
        one_core.leave()


def on_one_core(server: Server) -> int | None:
    found = {frozenset(cores) for cores in cores_of(server.pid)}
    return next(iter(*found)) if len(found) == 1 and len(next(iter(found))) == 1 else None


def test_a_service_goes_where_others_are_not(site: Site) -> None:
    server = site.start()
    wait_for("one core", lambda: on_one_core(server) is not None)
    core = on_one_core(server)
    assert core is not None
    busy = subprocess.Popen(
        [sys.executable, "-c", f"import os; os.sched_setaffinity(0, {{{core}}})\nwhile True: pass"]
    )
    end = threading.Event()

    def ask() -> None:
        while not end.is_set():
            assert server.healthy()

    asking = threading.Thread(target=ask)
    try:
        time.sleep(2 * LOOK_SECONDS[1])
        assert on_one_core(server) == core  # it does nothing, so it is in nobody's way
        asking.start()
        wait_for("the other core", lambda: on_one_core(server) not in (core, None))
    finally:
        busy.kill()
        busy.wait()
        end.set()
        if asking.ident is not None:
            asking.join()
    assert server.healthy()


def test_it_can_be_turned_off(site: Site) -> None:
    server = site.start("--Ngshare.one_core=False")
    time.sleep(LOOK_SECONDS[1] + 0.5)  # by then it would have looked
    assert all(cores == set(CORES) for cores in cores_of(server.pid))

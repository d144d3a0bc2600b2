"""Keeps a process on one core at a time, the one that others use least.

Of Python's threads one runs at a time. When the next one is on another core, that core has
to be woken, which takes longer than many a query, above all on virtual machines: a process
that may use two cores answered a third fewer requests than on one of them
(``docs/decisions/``). More cores are used by more processes, ``--workers``.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import time
from collections.abc import Mapping
from pathlib import Path

LOOK_SECONDS = (0.3, 1.0)
"""Between two looks; not always the same, so that two workers do not move at the same moment."""

WORTH_MOVING = 0.1
"""How much of a core's time others must leave more on another core, for a move to it.

A tenth is enough: who shares a core has it taken away for many milliseconds at a time, which
is what the slowest hundredth of the requests waits for.
"""

IDLE = 0.05
"""A process that used less of a core's time than this stays where it is, whoever joins it."""

Ticks = Mapping[int, tuple[int, int]]
"""For each core, the ticks that it was busy since the start of the machine, and all of them."""


class OneCore:
    """Which core this process is on."""

    def __init__(self) -> None:
        self.allowed = frozenset(os.sched_getaffinity(0))
        self.core: int | None = None
        self._ticks = _read_ticks()
        self._own, self._at = _own_seconds(), time.monotonic()

    def look(self) -> None:
        """Go to the core that others have used least since the last look, if that is worth it.

        A process that hardly works stays where it is.
        """
        ticks, own, at = _read_ticks(), _own_seconds(), time.monotonic()
        used = busy(self._ticks, ticks)
        working = min(1.0, (own - self._own) / max(at - self._at, 0.001))
        if self.core in used:  # what this process itself used keeps nobody out
            used[self.core] -= working
        self._ticks, self._own, self._at = ticks, own, at
        # Of a core that was switched off, or that a container's /proc calls otherwise, nothing
        # is known: it must not seem to be the idlest.
        known = {core: used[core] for core in self.allowed if core in used}
        if len(known) < 2:
            if self.core is not None:
                self.leave()
            return
        if self.core in known and working < IDLE:
            return
        found = choose(known, self.core)
        if found != self.core:
            self._move_to({found})
            self.core = found

    def leave(self) -> None:
        """Use all cores again."""
        self._move_to(self.allowed)
        self.core = None

    def _move_to(self, cores: set[int] | frozenset[int]) -> None:
        # Each thread has a set of its own; one that begins takes it over from the one before.
        for task in Path("/proc/self/task").iterdir():
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.sched_setaffinity(int(task.name), cores)


def choose(used: Mapping[int, float], core: int | None) -> int:
    """The core of which others use least; the one where we are, unless a move is worth it."""
    best = min(used, key=lambda each: (used[each], random.random()))
    if core is None or used.get(core, 1.0) > used[best] + WORTH_MOVING:
        return best
    return core


def busy(before: Ticks, after: Ticks) -> dict[int, float]:
    """What part of its time each core was busy between the two, from 0 to 1."""
    found = {}
    for core, (worked, whole) in after.items():
        worked_before, whole_before = before.get(core, (0, 0))
        found[core] = (worked - worked_before) / max(whole - whole_before, 1)
    return found


def _read_ticks() -> dict[int, tuple[int, int]]:
    """From ``/proc/stat``: user, nice, system, idle, iowait, irq, softirq, steal, ... by core."""
    found = {}
    for line in Path("/proc/stat").read_text().splitlines():
        name, *ticks = line.split()
        if name.startswith("cpu") and name != "cpu":
            spent = [int(each) for each in ticks[:8]]
            idle = sum(spent[3:5])
            found[int(name.removeprefix("cpu"))] = (sum(spent) - idle, sum(spent))
    return found


def _own_seconds() -> float:
    times = os.times()
    return times.user + times.system


async def keep_on_one_core() -> None:
    """Look now and then, until cancelled. Does nothing where there is but one core, or no way."""
    try:
        one_core = OneCore()
    except (AttributeError, OSError):  # not Linux
        return
    if len(one_core.allowed) < 2:
        return
    with contextlib.suppress(OSError):  # not allowed here
        while True:
            await asyncio.sleep(random.uniform(*LOOK_SECONDS))
            await asyncio.to_thread(one_core.look)

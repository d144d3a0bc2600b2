"""What people do, and how fast each has to be."""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.load import Outcome, Request
from benchmarks.processes import disk_usage
from benchmarks.sites import Site

P99_BAR = 0.25
"""The most that the slowest of a hundred replies may take, as a part of the peer's."""
HEALTH_BAR = 0.05
"""Seconds within which 99 of 100 questions about health are answered, whatever else goes on."""
NEAR_BARE = 0.4
"""A factor of 2.5 from the bare handler."""


@dataclass(frozen=True)
class Scenario:
    """What is sent, how many times the peer's speed is wanted, and of the bare handler's."""

    name: str
    title: str
    requests: Callable[[Site], list[Request]]
    bar: float | None
    """None: the ratio to the peer is only shown."""
    bare_bar: float = NEAR_BARE


SCENARIOS = [
    Scenario("fetch", "fetch an assignment", lambda site: site.fetches(), 6),
    Scenario("submit", "submit", lambda site: site.submits(), 5, 1.0),
    Scenario("small", "the five GETs of `nbgrader list`", lambda site: site.small_gets(), 5),
    Scenario("list", "list all submissions (one of each student)", lambda site: site.lists(), 20),
    Scenario("collect", "collect", lambda site: site.collects(), 5),
    Scenario("feedback", "give feedback", lambda site: site.feedbacks(), 4, 1.0),
    Scenario(
        "resubmit", "submit again with one notebook changed", lambda site: site.resubmits(), 10, 1.0
    ),
    # The last, because it makes a course more, which the lists of courses would hold.
    Scenario("cold", "fetch assignments, each once", lambda site: site.cold_fetches(), None),
]

ON_HUB = Scenario("hub", "the five GETs behind a real Hub", lambda site: site.small_gets(), 10)


@dataclass(frozen=True)
class Run:
    """What one run showed. Times in seconds, sizes in bytes."""

    rate: float
    """Requests a second."""
    p50: float
    p99: float
    cpu: float
    """Of the server, per request."""
    memory: float
    """The server's peak."""
    disk: float
    """How much more the server keeps on disk, per request."""
    client_used: float
    """The part of the time that the client ran."""
    client_waited: float
    """The part that it was ready to run, while its core was another's."""
    health: float
    """The 99th percentile of the questions about health."""
    requests: float
    reply: float
    """The size of a reply, which shows that all sites do the same work."""


def percentile(values: list[float], part: float) -> float:
    """The value below which so much of all lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))] if ordered else float("nan")


def measure(site: Site, requests: list[Request], seconds: float | None, connections: int) -> Run:
    """One run, after a short one that is not counted."""
    if seconds is not None:
        site.run(requests, connections=connections, seconds=min(0.5, seconds / 4))
    os.sync()  # or what the run before left unwritten would be written at this one's cost
    site.process.forget_peak()
    disk = disk_usage(site.folder)
    cpu = site.process.cpu()
    outcome = site.run(requests, connections=connections, seconds=seconds)
    cpu = site.process.cpu() - cpu
    return summarize(site, outcome, cpu, disk_usage(site.folder) - disk)


def summarize(site: Site, outcome: Outcome, cpu: float, disk: float) -> Run:
    """The numbers of one run."""
    latencies = list(outcome.latencies)
    return Run(
        rate=outcome.in_time / outcome.seconds,
        p50=percentile(latencies, 0.5),
        p99=percentile(latencies, 0.99),
        cpu=cpu / outcome.completed,
        memory=site.process.peak_memory(),
        disk=disk / outcome.completed,
        client_used=outcome.client_used,
        client_waited=outcome.client_waited,
        health=percentile(list(outcome.health), 0.99),
        requests=outcome.completed,
        reply=outcome.received / outcome.completed,
    )


def median(runs: list[Run]) -> dict[str, Any]:
    """The median of each number, and the lowest and highest rate."""
    every = [asdict(run) for run in runs]
    middle: dict[str, Any] = {
        name: statistics.median(run[name] for run in every) for name in every[0]
    }
    middle["lowest"] = min(run.rate for run in runs)
    middle["highest"] = max(run.rate for run in runs)
    middle["runs"] = len(runs)
    return middle

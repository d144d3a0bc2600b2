"""The parts of a whole run, in order; each prints its tables as soon as it has them."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import content, growth, hub, memory, plugins, report, unchanged
from benchmarks.hub import Hub, HubSite, OursOnHub, PeerOnHub
from benchmarks.processes import free_port
from benchmarks.report import Verdict
from benchmarks.scenarios import ON_HUB, SCENARIOS, Run, Scenario, measure, median
from benchmarks.sites import (
    Bare,
    Ours,
    Peer,
    Postgres,
    PostgresTwoWorkers,
    Site,
    TwoWorkers,
)
from tests.postgres import find_programs, running_cluster

PARTS = ("roster", "unchanged", "hub", "plugins", "shapes", "growth", "memory")
"""What is measured besides the scenarios."""

ROSTER = Scenario("roster", "import a roster of 800", lambda site: [], 100)
ROSTER_TURNS = {"peer": 2}
"""How often a site imports its roster where that is not as often as all else: 37 s each time."""
LARGE_ROSTER_BAR = 10.0
"""The most seconds that a roster of 20,000 may take."""

SHAPES_SECONDS = 2.0
"""The most that a run of the other shapes takes: there are many."""

OUT_OF_THE_BOX = {"checkpoint_timeout": "5min", "max_wal_size": "1GB", "autovacuum": "on"}
"""How PostgreSQL comes: every commit waits for the disk."""


@dataclass
class Bench:
    """One run: what was chosen, and what was found so far."""

    folder: Path
    only: Sequence[str]
    kinds: Sequence[str]
    seconds: float
    rounds: int
    quick: bool
    text: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    def run(self) -> None:
        """Every part that was chosen."""
        chosen = [each for each in SCENARIOS if each.name in self.only]
        if chosen or "roster" in self.only:
            with taking("scenarios and roster"):
                self.beside(chosen)
        parts = {
            "unchanged": self.unchanged,
            "hub": self.on_hub,
            "plugins": self.plugins,
            "shapes": self.shapes,
            "growth": self.growth,
            "memory": self.memory,
        }
        for name, part in parts.items():
            if name in self.only:
                with taking(name):
                    part()

    def beside(self, chosen: Sequence[Scenario]) -> None:
        """The peer, ngshare and the bare handler in turn."""
        kinds: dict[str, type[Site]] = {"peer": Peer, "ngshare": Ours, "bare": Bare}
        students = content.students(20 if self.quick else 200)
        makers = [
            lambda name=name: kinds[name](name, self.folder / name, students) for name in self.kinds
        ]
        with self.sites(makers) as sites:
            for scenario in chosen:
                rows = self.interleaved(scenario, sites)
                self.keep(scenario.name, rows)
                self.show(scenario.title, report.comparison(rows), report.verdicts(scenario, rows))
            if chosen:
                self.at_rest(sites)
            if "roster" in self.only:
                self.roster(sites)

    def at_rest(self, sites: Sequence[Site]) -> None:
        """Memory before anything happened, and now."""
        rows = {
            site.name: {"idle": site.idle_memory, "after": site.process.memory()} for site in sites
        }
        self.keep("at rest", rows)
        self.show("memory at rest, before and after all of the above", report.at_rest(rows), [])

    def roster(self, sites: Sequence[Site]) -> None:
        """One request that imports 800 students, and for ngshare one of 20,000."""
        few, many = (40, 500) if self.quick else (800, 20_000)
        runs: dict[str, list[Run]] = {site.name: [] for site in sites}
        for turn in range(self.rounds):
            for site in taking_turns(sites, turn):
                if turn >= ROSTER_TURNS.get(site.name, self.rounds):
                    continue
                requests = site.roster(f"roster{turn}", few)
                runs[site.name].append(measure(site, requests, None, 1))
        rows = {name: median(each) for name, each in runs.items()}
        # Of a single request, p99 and rate say the same.
        found = report.verdicts(ROSTER, rows)
        text = report.comparison(rows)
        for site in sites:
            if site.name == "ngshare":
                rows["large"] = median([measure(site, site.roster("large", many), None, 1)])
                taken = rows["large"]["p50"]
                said = f"{many:,} students in {report.seconds(taken)}"
                bar = f"≤ {LARGE_ROSTER_BAR:.0f} s"
                found.append(report.verdict(taken <= LARGE_ROSTER_BAR, said, bar))
                found.append(report.health_verdict(rows["large"]["health"], "meanwhile"))
        self.keep("roster", rows)
        self.show(f"import a roster of {few}", text, found)

    def unchanged(self) -> None:
        """Submissions of a notebook and much data that is the assignment's."""
        megabytes, students = (5, 4) if self.quick else (100, 50)
        files = unchanged.data_files(megabytes * 10**6)
        names = content.students(students)
        kinds: list[type[Site]] = [Ours, *([Peer] if "peer" in self.kinds else [])]
        counted = {}
        for kind in kinds:  # one after the other: a form of this size takes much memory
            name = kind.__name__.lower()
            make = functools.partial(kind, name, self.folder / f"unchanged-{name}", names)
            with self.sites([make]) as [site]:
                unchanged.release(site, files)
                if isinstance(site, Ours):
                    counted["changed"] = unchanged.count_changed(site, files)
                counted[f"whole, {name}"] = unchanged.count_whole(site, files)
        self.keep("unchanged", {"megabytes": megabytes, "students": students, **counted})
        text, found = report.unchanged(students, counted)
        title = f"{megabytes} MB of unchanged data in an assignment, {students} submissions"
        self.show(title, text, found)

    def plugins(self) -> None:
        """``nbgrader list`` and ``nbgrader collect`` with this plugin and the older one."""
        found = plugins.programs()
        if not hub.available() or "ours" not in found:
            self.say("The Hub's proxy, or nbgrader, is missing: .ci/get-proxy, make install")
            return
        if "older" not in found:
            self.say("The older plugin is missing: .ci/get-nbgrader")
        counts = (2, 2, 2) if self.quick else (10, 20, 5)
        students = content.students(4 if self.quick else 200)
        running = Hub(self.folder / "plugins", free_port())
        try:
            running.wait_for_hub()
            tokens = hub.make_tokens(running, students)
            folder = self.folder / "plugins-ngshare"
            make = functools.partial(OursOnHub, "ngshare", folder, running, tokens, students)
            with self.sites([make]) as [site]:
                assert isinstance(site, OursOnHub)
                plugins.add_courses(site, *counts)
                commands = {"list": plugins.list_assignments, "collect": plugins.collect}
                if not self.quick:
                    commands["--version"] = plugins.start
                rows = {
                    name: {title: run(site, program, name) for title, run in commands.items()}
                    for name, program in found.items()
                }
        finally:
            running.stop()
        self.keep("plugins", rows)
        text, verdicts = report.plugins(rows, len(students))
        courses, assignments, submissions = counts
        self.show(
            f"nbgrader's commands: a list of {courses} courses x {assignments} assignments x "
            f"{submissions} submissions, collect of {len(students)} students",
            text,
            verdicts,
        )

    def on_hub(self) -> None:
        """The five GETs with tokens that the Hub must know: asked directly, and by the proxy."""
        if not hub.available():
            self.say("The Hub's proxy is missing, so nothing is measured there: .ci/get-proxy")
            return
        students = content.students(10 if self.quick else 60)
        running = Hub(self.folder / "hub", free_port())
        try:
            running.wait_for_hub()
            tokens = hub.make_tokens(running, students)
            kinds: dict[str, type[HubSite]] = {"peer": PeerOnHub, "ngshare": OursOnHub}
            makers = [
                lambda name=name: kinds[name](
                    name, self.folder / f"hub-{name}", running, tokens, students
                )
                for name in kinds
                if name in self.kinds
            ]
            with self.sites(makers) as sites:
                for way in ("direct", "proxied"):
                    for site in sites:
                        site.port = getattr(site, way)
                    rows = self.interleaved(ON_HUB, sites)
                    self.keep(f"hub, {way}", rows)
                    title = f"{ON_HUB.title}, {len(students)} users, {HOW[way]}"
                    self.show(title, report.comparison(rows), report.verdicts(ON_HUB, rows))
        finally:
            running.stop()

    def shapes(self) -> None:
        """Two workers, and PostgreSQL, beside one worker on SQLite."""
        students = content.students(20 if self.quick else 200)
        kinds: dict[str, type[Site]] = {USUAL: Ours, "`--workers 2`": TwoWorkers}
        with contextlib.ExitStack() as stack:
            if find_programs():
                Postgres.cluster = stack.enter_context(running_cluster(**OUT_OF_THE_BOX))
                kinds["PostgreSQL"] = Postgres
                kinds["PostgreSQL, `--workers 2`"] = PostgresTwoWorkers
            else:
                self.say("PostgreSQL's server is missing: apt-get install postgresql")
            makers = [
                lambda name=name, at=at: kinds[name](name, self.folder / f"shape{at}", students)
                for at, name in enumerate(kinds)
            ]
            with self.sites(makers) as sites:
                for scenario in SCENARIOS:
                    if scenario.bar is None:
                        continue
                    rows = self.interleaved(scenario, sites, min(SHAPES_SECONDS, self.seconds))
                    self.keep(f"shapes, {scenario.name}", rows)
                    text = report.comparison(rows, beside=(USUAL,))
                    found = [report.health_verdict(row["health"], at) for at, row in rows.items()]
                    self.show(f"{scenario.title}, in other shapes", text, found)

    def growth(self) -> None:
        """Every read in databases of growing size."""
        counts = (1000, 3000) if self.quick else (10**3, 10**4, 10**5, 10**6)
        few = 7 if self.quick else None
        students = content.students(20 if self.quick else 200)
        sizes = {}

        def make() -> Site:
            return Ours("ngshare", self.folder / "growth", students)

        with self.sites([make]) as sites:
            site = sites[0]
            assert isinstance(site, Ours)
            for count in counts:
                site.process.stop()
                late = growth.grow_to(site.database, count)
                site.restart()
                sizes[str(count)] = growth.measure(
                    site, growth.reads(site, late), few or growth.SAMPLES
                )
            site.process.stop()
            lengths = growth.add_long_lists(site.database)
            site.restart()
            lists = {
                str(count): growth.measure(
                    site, growth.long_lists(site, count), few or growth.LONG_SAMPLES
                )
                for count in lengths
            }
        text, found = report.growth(sizes)
        self.keep("growth", sizes)
        self.show("reads as the database grows, by submissions in it", text, found)
        text, found = report.long_lists(lists)
        self.keep("long lists", lists)
        self.show("a list grows with its own length only", text, found)

    def memory(self) -> None:
        """Large submissions at once, one of many files, and clients that are stuck."""
        counts, files, stuck = ((2, 4), 3, 5) if self.quick else ((10, 40, 100), 100, 200)
        students = content.students(counts[-1])
        make = functools.partial(Ours, "ngshare", self.folder / "memory", students)
        with self.sites([make]) as sites:
            site = sites[0]
            assert isinstance(site, Ours)
            rows = [memory.measure(site, count) for count in counts]
            # As a form, a hundred of them are a body of about 500 MB.
            rows.append(memory.measure(site, 1, memory.MANY_FILES_BYTES, files))
            waiting = memory.stuck_clients(site, stuck, 2 if self.quick else 10)
            small = memory.small_beside_large(site, max(1, 3 * self.seconds))
        self.keep("memory", {"uploads": rows, "stuck": waiting, "small": small})
        text, found = report.uploads(rows, waiting, small)
        self.show("memory while large submissions arrive at once", text, found)

    def interleaved(
        self, scenario: Scenario, sites: Sequence[Site], seconds: float | None = None
    ) -> dict[str, Any]:
        """The median of each site's runs, which take turns."""
        requests = {site.name: scenario.requests(site) for site in sites}
        runs: dict[str, list[Run]] = {site.name: [] for site in sites}
        for turn in range(self.rounds):
            for site in taking_turns(sites, turn):
                run = measure(site, requests[site.name], seconds or self.seconds, connections=50)
                runs[site.name].append(run)
        return {name: median(each) for name, each in runs.items()}

    @contextlib.contextmanager
    def sites(self, makers: Sequence[Callable[[], Site]]) -> Iterator[list[Site]]:
        """Start these, and end them."""
        begun = time.monotonic()
        with contextlib.ExitStack() as stack:
            started: list[Site] = []
            for make in makers:
                site = make()
                stack.callback(site.stop)
                started.append(site)
            names = ", ".join(site.name for site in started)
            print(f"({names} ready after {time.monotonic() - begun:.0f} s)", file=sys.stderr)
            yield started

    def keep(self, name: str, rows: Any) -> None:
        """Keep numbers for the file of results."""
        self.results[name] = rows

    def show(self, title: str, text: str, found: Sequence[Verdict]) -> None:
        """Print a part, and keep it for the documentation."""
        self.say(f"### {title[:1].upper()}{title[1:]}\n\n{text}\n")
        if found:
            self.say(report.listing(found) + "\n")
        self.missed += [f"{title}: {line}" for met, line in found if not met]

    def say(self, text: str) -> None:
        """Print a text, and keep it for the documentation."""
        print(text, flush=True)
        self.text.append(text)

    def save(self, machine: dict[str, Any], path: Path) -> None:
        """Write all numbers as JSON."""
        path.parent.mkdir(parents=True, exist_ok=True)
        whole = {"machine": machine, "missed": self.missed, "results": self.results}
        path.write_text(json.dumps(whole, indent=1), "utf8")


@contextlib.contextmanager
def taking(name: str) -> Iterator[None]:
    """Say how long a part took."""
    begun = time.monotonic()
    yield
    print(f"({name}: {time.monotonic() - begun:.0f} s)", file=sys.stderr)


def taking_turns(sites: Sequence[Site], turn: int) -> list[Site]:
    """The order of one round: another begins each time, so that nobody always follows the same."""
    first = turn % len(sites)
    return [*sites[first:], *sites[:first]]


USUAL = "one worker, SQLite"
HOW = {"direct": "without the proxy", "proxied": "through the proxy"}

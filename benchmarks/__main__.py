"""``python -m benchmarks``: run what was chosen, print the tables, keep them."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from benchmarks import content, report
from benchmarks.scenarios import SCENARIOS, Run, measure, median
from benchmarks.sites import Bare, Ours, Peer, Site


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument("--only", default=",".join(names), help=f"of {', '.join(names)}")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one run")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn")
    parser.add_argument("--sites", default="peer,ngshare,bare")
    parser.add_argument("--quick", action="store_true", help="see that it works; 20 students")
    chosen = parser.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.rounds = min(chosen.seconds, 1.0), 1
    folder = Path(tempfile.mkdtemp(prefix="ngshare-bench-", dir="/var/tmp"))
    students = content.students(20 if chosen.quick else 200)
    kinds: dict[str, type[Site]] = {"peer": Peer, "ngshare": Ours, "bare": Bare}
    sites: list[Site] = []
    try:
        for name in chosen.sites.split(","):
            print(f"starting {name} ...", file=sys.stderr)
            sites.append(kinds[name](name, folder / name, students))
        for scenario in SCENARIOS:
            if scenario.name not in chosen.only.split(","):
                continue
            requests = {site.name: scenario.requests(site) for site in sites}
            runs: dict[str, list[Run]] = {site.name: [] for site in sites}
            for _ in range(chosen.rounds):
                for site in sites:
                    runs[site.name].append(
                        measure(site, requests[site.name], chosen.seconds, connections=50)
                    )
            print(report.table(scenario, {name: median(each) for name, each in runs.items()}))
    finally:
        for site in sites:
            site.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

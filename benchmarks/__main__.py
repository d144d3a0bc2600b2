"""``python -m benchmarks``: run what was chosen, print the tables, keep them."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import machine, report
from benchmarks.bench import PARTS, Bench
from benchmarks.scenarios import SCENARIOS
from benchmarks.sites import ROOT

PAGE = ROOT / "docs" / "performance.md"
RESULTS = ROOT / "benchmarks" / "results"


def main() -> None:
    """The command."""
    every = [*(scenario.name for scenario in SCENARIOS), *PARTS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure ngshare beside the peer. A run of everything writes the results into "
        "docs/performance.md.",
    )
    parser.add_argument("--only", default=",".join(every), help=f"some of {','.join(every)}")
    parser.add_argument("--seconds", type=float, default=3.0, help="of one run; default 3")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each, in turn; default 3")
    parser.add_argument("--sites", default="peer,ngshare,bare", help="some of these three")
    parser.add_argument(
        "--quick", action="store_true", help="see that it works; numbers are worth nothing"
    )
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where servers write")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the numbers are kept")
    parser.add_argument("--publish", action="store_true", help="write the page in any case")
    chosen = parser.parse_args()
    only = chosen.only.split(",")
    for name in only:
        if name not in every:
            parser.error(f"--only: there is no {name}")
    if chosen.quick:
        chosen.seconds, chosen.rounds = min(chosen.seconds, 0.5), 1
    # Whoever ends this ends the servers too, and leaves nothing in the folder.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended"))
    begun = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="ngshare-bench-", dir=chosen.folder))
    facts = machine.facts(folder)
    if facts["filesystem"] == "tmpfs":
        sys.exit(f"{folder} is in memory, where nothing is durable; name another --folder")
    bench = Bench(
        folder, only, chosen.sites.split(","), chosen.seconds, chosen.rounds, chosen.quick
    )
    options = " ".join(["python -m benchmarks", *sys.argv[1:]])
    bench.say(report.summary(facts, options) + "\n")
    try:
        bench.run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    missed = "\n".join(f"- {line}" for line in bench.missed) or "Every bar was met."
    bench.say(f"### Not reached\n\n{missed}\n")
    numbers = chosen.results / time.strftime("%Y%m%d-%H%M%S.json", time.gmtime())
    bench.save(facts, numbers)
    print(f"({time.monotonic() - begun:.0f} s; numbers in {numbers})")
    if chosen.publish or (set(only) == set(every) and not chosen.quick):
        report.publish("\n".join(bench.text), PAGE)
        print(f"Wrote {PAGE}")


if __name__ == "__main__":
    main()

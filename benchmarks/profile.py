"""Where the service's CPU goes in a scenario: ``python -m benchmarks.profile submit``.

py-spy looks at the running service 200 times a second, without slowing it much. What it
saw is summed up by thread, by function, and by what each function called.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks import content, memory
from benchmarks.scenarios import SCENARIOS, summarize
from benchmarks.sites import Bare, Ours, Peer, Site, TwoWorkers

SITES: dict[str, type[Site]] = {"ngshare": Ours, "peer": Peer, "bare": Bare, "workers": TwoWorkers}
SCENARIOS_BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
SAMPLES = 200

RUNNERS = re.compile(r"\((threading|asyncio/|futures/|<frozen)|\(ngshare/(app|__main__)\.py\)")
"""What only runs the rest, and would head every list."""


def record(
    site: Site, seconds: float, options: Sequence[str], folder: Path
) -> Counter[tuple[str, ...]]:
    """How often each stack was seen: the thread, then the functions from the outermost."""
    target = folder / "stacks"
    program = Path(sys.executable).with_name("py-spy")
    command = [
        *(str(program), "record", "--format", "raw", "--threads", "--subprocesses"),
        *("--rate", str(SAMPLES), "--duration", str(max(1, round(seconds))), "--nonblocking"),
        *options,
        *("--output", str(target), "--pid", str(site.process.popen.pid)),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not target.exists():
        raise RuntimeError(f"py-spy failed:\n{done.stdout}{done.stderr}")
    stacks: Counter[tuple[str, ...]] = Counter()
    for line in target.read_text("utf8").splitlines():
        stack, _, times = line.rpartition(" ")
        frames = [_short(frame) for frame in stack.split(";")]
        while frames and frames[0].startswith("process "):
            del frames[0]
        stacks[tuple(frames)] += int(times)
    return stacks


def show(stacks: Counter[tuple[str, ...]], lines: int) -> str:
    """The profile as text: threads, functions by their own time, functions with what they call."""
    total = sum(stacks.values())
    threads: Counter[str] = Counter()
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for stack, times in stacks.items():
        threads[re.sub(r"\d+: |_\d+$", "", stack[0])] += times
        own[stack[-1]] += times
        for frame in set(stack[1:]):
            if not RUNNERS.search(frame):
                whole[frame] += times
    text = [f"{total} samples, {SAMPLES} a second of each thread that ran"]
    for title, counted in (("thread", threads), ("own time", own), ("with callees", whole)):
        text += ["", f"{title:>14}"]
        text += [f"{times / total:13.1%}  {name}" for name, times in counted.most_common(lines)]
    return "\n".join(text)


def _short(frame: str) -> str:
    """A frame without the long way to its file, and without the line."""
    frame = re.sub(r"\(0x[0-9A-F]+\)", "", frame)
    frame = re.sub(r"thread \((.*)\)", r"\1", frame) if frame.startswith("thread (") else frame
    match = re.fullmatch(r"(.*) \((.*?)(:\d+)?\)", frame)
    if not match:
        return frame
    name, file = match[1], match[2]
    return f"{name} ({'/'.join(Path(file).parts[-2:])})"


def scenario(site: Site, chosen: argparse.Namespace, watcher: threading.Thread | None) -> str:
    """Run a scenario: shortly, or while it is watched."""
    asked = SCENARIOS_BY_NAME[chosen.scenario]
    requests = asked.requests(site)
    if watcher is None:
        site.run(requests, seconds=0.5)
        return ""
    watcher.start()
    cpu = site.process.cpu()
    outcome = site.run(requests, seconds=chosen.seconds + 1)
    run = summarize(site, outcome, site.process.cpu() - cpu, 0)
    return f"{asked.title}: {run.rate:,.0f}/s while watched, {run.cpu * 1000:.2f} ms of CPU"


def uploads(site: Site, chosen: argparse.Namespace, watcher: threading.Thread | None) -> str:
    """Send submissions of 20 MB at once, while they are watched."""
    if watcher is None:
        return ""
    watcher.start()
    row = memory.measure(site, 25)
    return f"25 submissions of 20 MB: {row['seconds']:.1f} s, /healthz p99 {row['health']:.3f} s"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS_BY_NAME, "uploads"])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--site", choices=SITES, default="ngshare")
    parser.add_argument("--students", type=int, default=50)
    parser.add_argument("--lines", type=int, default=25, help="of each table")
    parser.add_argument("--native", action="store_true", help="also what runs below Python")
    parser.add_argument("--gil", action="store_true", help="only what keeps other threads waiting")
    parser.add_argument("--flame", type=Path, help="keep the stacks here, for speedscope.app")
    chosen = parser.parse_args()
    options = [f"--{name}" for name in ("native", "gil") if getattr(chosen, name)]
    folder = Path(tempfile.mkdtemp(prefix="ngshare-profile-", dir="/var/tmp"))
    try:
        site = SITES[chosen.site](chosen.site, folder / "site", content.students(chosen.students))
        try:
            run = uploads if chosen.scenario == "uploads" else scenario
            run(site, chosen, None)
            found: list[Counter[tuple[str, ...]]] = []
            watcher = threading.Thread(
                target=lambda: found.append(record(site, chosen.seconds, options, folder))
            )
            said = run(site, chosen, watcher)
            watcher.join()
        finally:
            site.stop()
        if not found:
            sys.exit(
                "There is no profile; py-spy must be allowed to look at other processes (root)"
            )
        print(said)
        print(show(found[0], chosen.lines))
        if chosen.flame:
            shutil.copy(folder / "stacks", chosen.flame)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()

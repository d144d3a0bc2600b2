"""Where the service's CPU goes in a scenario: ``python -m benchmarks.profile submit``.

py-spy looks at the running service 200 times a second, without slowing it much. What it
saw is summed up by thread, by function, and by what each function called.
"""

from __future__ import annotations

import argparse
import contextlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import content, hub, load, memory
from benchmarks.hub import Hub, HubSite, OursOnHub, PeerOnHub
from benchmarks.load import Load
from benchmarks.processes import client_core, free_port
from benchmarks.scenarios import ON_HUB, SCENARIOS, percentile, summarize
from benchmarks.sites import Bare, Ours, Peer, Site, TwoWorkers

SITES: dict[str, type[Site]] = {"ngshare": Ours, "peer": Peer, "bare": Bare, "workers": TwoWorkers}
SITES_ON_HUB: dict[str, type[HubSite]] = {"ngshare": OursOnHub, "peer": PeerOnHub}
SCENARIOS_BY_NAME = {scenario.name: scenario for scenario in (*SCENARIOS, ON_HUB)}
ROSTERS = 100
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
        if not times.isdecimal():
            continue  # py-spy read while it was written, for it lets the service run
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


Watch = Callable[[], None]
"""Begins to look."""


def scenario(site: Site, chosen: argparse.Namespace, watch: Watch) -> str:
    """Run a scenario: shortly, then while it is watched."""
    asked = SCENARIOS_BY_NAME[chosen.scenario]
    requests = asked.requests(site)
    site.run(requests, seconds=0.5)
    watch()
    cpu = site.process.cpu()
    outcome = site.run(requests, seconds=chosen.seconds + 1)
    run = summarize(site, outcome, site.process.cpu() - cpu, 0)
    return f"{asked.title}: {run.rate:,.0f}/s while watched, {run.cpu * 1000:.2f} ms of CPU"


def roster(site: Site, chosen: argparse.Namespace, watch: Watch) -> str:
    """Import rosters of 800, each into a course of its own, while they are watched."""
    count = 1 if chosen.site == "peer" else ROSTERS
    requests = [site.roster(f"roster{number}", 800)[0] for number in range(count)]
    watch()
    outcome = site.run(requests, connections=1)
    return f"a roster of 800: {outcome.seconds / count * 1000:,.0f} ms while watched"


def uploads(site: Site, chosen: argparse.Namespace, watch: Watch) -> str:
    """Send submissions of 20 MB at once, while they are watched."""
    assert isinstance(site, Ours)
    requests = memory.submissions(site, 25, memory.UPLOAD_BYTES)
    watch()
    whole = Load(site.port, requests, len(requests), None, site.serial, retry=True)
    outcome = load.run(whole, client_core(), site.health_request())
    p99 = percentile(list(outcome.health), 0.99)
    return f"25 submissions of 20 MB: {outcome.seconds:.1f} s, /healthz p99 {p99 * 1000:.0f} ms"


@contextlib.contextmanager
def running(chosen: argparse.Namespace, folder: Path) -> Iterator[Site]:
    """The site that is looked at, with a class in it."""
    students = content.students(chosen.students)
    with contextlib.ExitStack() as stack:
        if chosen.scenario == "hub":
            if not hub.available():
                sys.exit("The Hub's proxy is missing: .ci/get-proxy")
            its_hub = Hub(folder / "hub", free_port())
            stack.callback(its_hub.stop)
            its_hub.wait_for_hub()
            tokens = hub.make_tokens(its_hub, students)
            on_hub = SITES_ON_HUB[chosen.site]("site", folder / "site", its_hub, tokens, students)
            stack.callback(on_hub.stop)
            on_hub.port = on_hub.direct
            yield on_hub
        else:
            site = SITES[chosen.site](chosen.site, folder / "site", students)
            stack.callback(site.stop)
            yield site


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("scenario", choices=[*SCENARIOS_BY_NAME, *OTHERS])
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--site", choices=SITES, default="ngshare")
    parser.add_argument("--students", type=int, default=50)
    parser.add_argument("--lines", type=int, default=25, help="of each table")
    parser.add_argument("--native", action="store_true", help="also what runs below Python")
    parser.add_argument("--gil", action="store_true", help="only what keeps other threads waiting")
    parser.add_argument("--flame", type=Path, help="keep the stacks here, for speedscope.app")
    chosen = parser.parse_args()
    if chosen.scenario == "hub" and chosen.site not in SITES_ON_HUB:
        parser.error(f"--site: behind the Hub there are {' and '.join(SITES_ON_HUB)}")
    if chosen.scenario == "uploads" and not issubclass(SITES[chosen.site], Ours):
        parser.error("--site: uploads are sent to ngshare only")
    options = [f"--{name}" for name in ("native", "gil") if getattr(chosen, name)]
    folder = Path(tempfile.mkdtemp(prefix="ngshare-profile-", dir="/var/tmp"))
    found: list[Counter[tuple[str, ...]]] = []
    try:
        with running(chosen, folder) as site:
            watcher = threading.Thread(
                target=lambda: found.append(record(site, chosen.seconds, options, folder))
            )
            said = OTHERS.get(chosen.scenario, scenario)(site, chosen, watcher.start)
            watcher.join()
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


OTHERS = {"roster": roster, "uploads": uploads}


if __name__ == "__main__":
    main()

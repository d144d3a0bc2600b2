"""How long a start takes to its first answer, with the version check and with ``--no-upgrade-db``.

    python -m benchmarks.start

The two take turns, and each time is that of a new process until ``/healthz`` answers.
The check of the version is the difference; a start spends nearly all of its time on
importing libraries.
"""

from __future__ import annotations

import argparse
import http.client
import shutil
import statistics
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

from benchmarks import legacy_site
from benchmarks.processes import START_SECONDS, Process, free_port
from ngshare.db import migrate
from ngshare.db.urls import parse_url

WAYS = {"as usual": (), "--no-upgrade-db": ("--no-upgrade-db",)}


def seconds(folder: Path, *arguments: str) -> float:
    """Start the service, and return how long its first answer took."""
    port = free_port()
    command = [sys.executable, "-m", "ngshare", "--vngshare", "--port", str(port)]
    command += [f"--database=sqlite:///{folder}/ngshare.db", f"--storage={folder}/files"]
    started = time.perf_counter()
    process = Process([*command, *arguments], folder, name="start")
    try:
        while time.perf_counter() - started < START_SECONDS:
            if answers(port):
                return time.perf_counter() - started
            time.sleep(0.001)
        raise SystemExit(f"it did not start: see {process.log}")
    finally:
        process.stop()


def answers(port: int) -> bool:
    """Whether somebody at this port is healthy."""
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=5)) as connection:
        try:
            connection.request("GET", "/healthz")
            return connection.getresponse().status == 200
        except OSError:
            return False


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="starts of each kind")
    rounds = parser.parse_args().rounds
    folder = Path(tempfile.mkdtemp(prefix="ngshare-start-", dir="/var/tmp"))
    try:
        legacy_site.make(folder / "site", 400, kilobytes=1).close()
        site = folder / "site"
        migrate.upgrade(parse_url(f"sqlite:///{site}/ngshare.db"), site / "files")
        seconds(site)  # so that no file is read from the disk for the first time
        taken: dict[str, list[float]] = {way: [] for way in WAYS}
        for _ in range(rounds):
            for way, arguments in WAYS.items():
                taken[way].append(seconds(site, *arguments))
    finally:
        shutil.rmtree(folder)
    for way, times in taken.items():
        print(
            f"{way:<16} {statistics.median(times) * 1000:6.0f} ms "
            f"({min(times) * 1000:.0f}-{max(times) * 1000:.0f})"
        )
    usual, without = (statistics.median(times) for times in taken.values())
    print(f"ratio            {usual / without:6.3f}")


if __name__ == "__main__":
    main()

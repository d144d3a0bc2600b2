"""The parent of several workers, at the moments that the service itself hits rarely."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from tests.process.site import PATIENCE

SUPERVISE = """
import os, signal, sys
from ngshare.runtime.workers import supervise

def work(parent_pipe):
    os.write(1, f"{os.getpid()}\\n".encode())
    signal.pause()

supervise(int(sys.argv[1]), work)
print("ended", flush=True)
"""


class Family:
    """A parent that supervises so many workers, each of which prints its id and then sleeps."""

    def __init__(self, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SUPERVISE, str(count)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        # Ends a wait for a worker that never comes.
        self.deadline = threading.Timer(PATIENCE, os.killpg, [self.process.pid, signal.SIGKILL])
        self.deadline.start()

    def next_worker(self) -> int:
        assert self.process.stdout is not None
        return int(self.process.stdout.readline())

    def end(self) -> str:
        """What it printed from here on, when it ended by itself with success."""
        out, err = self.process.communicate(timeout=PATIENCE)
        assert (self.process.returncode, err) == (0, "")
        return out


@pytest.fixture
def family(request: pytest.FixtureRequest) -> Iterator[Family]:
    family = Family(request.param)
    yield family
    family.deadline.cancel()
    if family.process.poll() is None:
        os.killpg(family.process.pid, signal.SIGKILL)
    family.process.communicate()


@pytest.mark.parametrize("family", [200], indirect=True)
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_told_to_stop_while_it_starts_workers(family: Family, signum: int) -> None:
    family.next_worker()
    family.process.send_signal(signum)
    assert family.end().endswith("ended\n")


@pytest.mark.parametrize("family", [3], indirect=True)
def test_told_to_stop_when_a_worker_has_just_ended(family: Family) -> None:
    workers = [family.next_worker() for _ in range(3)]
    os.kill(workers[0], signal.SIGKILL)
    family.process.send_signal(signal.SIGTERM)
    out, err = family.process.communicate(timeout=PATIENCE)
    assert family.process.returncode == 0
    assert out.endswith("ended\n")
    assert "Stopped without these workers" not in err


@pytest.mark.parametrize("family", [2], indirect=True)
def test_every_worker_that_ends_is_replaced(family: Family) -> None:
    seen = {family.next_worker(), family.next_worker()}
    for victim in sorted(seen):
        os.kill(victim, signal.SIGKILL)
        seen.add(family.next_worker())
    assert len(seen) == 4
    family.process.send_signal(signal.SIGTERM)
    assert family.process.wait(PATIENCE) == 0

"""A service that outlives whoever launched it ends by itself, where it was told to."""

from __future__ import annotations

import os
import signal
import sys

import pytest

from tests.process.site import COMMAND, Server, Site, wait_for
from tests.process.test_stop import SlowSubmission, listens, prepare, wait_for_refusal

LAUNCH = "import subprocess, sys; subprocess.Popen(sys.argv[1:]).wait()"
"""What launches a service and waits for it, as a Hub does."""

LAUNCHED = (sys.executable, "-c", LAUNCH, *COMMAND)

ways = pytest.mark.parametrize("workers", ["1", "2"], ids=["one process", "two workers"])


def launch(site: Site, *arguments: str) -> Server:
    return site.start(*arguments, command=LAUNCHED)


def kill_launcher(server: Server) -> None:
    """End the process that launched the service, and only that."""
    os.kill(server.pid, signal.SIGKILL)
    server.ended()


@ways
def test_it_finishes_what_is_in_flight_and_ends(migrated_site: Site, workers: str) -> None:
    server = launch(migrated_site, "--end-with-hub", f"--workers={workers}")
    prepare(server)
    slow = SlowSubmission(server.port)
    kill_launcher(server)
    wait_for_refusal(server)
    assert slow.finish() == 200
    wait_for("its last line", lambda: "Stopped: what launched it is gone\n" in server.output)
    assert "cut off" not in server.output


@ways
def test_the_next_one_takes_over_its_port(migrated_site: Site, workers: str) -> None:
    first = launch(migrated_site, "--end-with-hub", f"--workers={workers}")
    kill_launcher(first)
    second = launch(migrated_site, "--end-with-hub", f"--port={first.port}")
    assert second.port == first.port
    wait_for("the end of the first", lambda: "Stopped" in first.output)
    assert second.healthy()


def test_it_ends_as_ever_when_it_is_told_to(migrated_site: Site) -> None:
    server = migrated_site.start("--end-with-hub")
    assert server.stop() == 0
    assert server.output.endswith("Stopped\n")


def test_it_goes_on_where_it_was_not_told_to(migrated_site: Site) -> None:
    server = launch(migrated_site)
    kill_launcher(server)
    again = migrated_site.refusal(*migrated_site.arguments(), f"--port={server.port}")
    assert "is another ngshare running? Stop it" in again
    assert listens(server.port)

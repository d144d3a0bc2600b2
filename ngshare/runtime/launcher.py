"""Stop the service when the process that launched it has ended.

A Hub that is killed leaves its services running. An orphaned service would occupy the port of
the one that the next Hub launches, and its API token is unknown to that Hub, so that its users
would get 503.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

POLL_SECONDS = 1.0
"""Interval of checking the parent process."""


@contextlib.contextmanager
def terminate_when_orphaned(launcher: int) -> Iterator[None]:
    """Send this process SIGTERM when its parent is no longer the process ``launcher``.

    It uses a timer signal instead of a thread, because workers are forked later. They do not
    inherit the timer; they end with their parent.
    """

    def check_parent(signum: int, frame: FrameType | None) -> None:
        if os.getppid() != launcher:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, check_parent)
    signal.setitimer(signal.ITIMER_REAL, POLL_SECONDS, POLL_SECONDS)
    try:
        yield
    finally:
        # Python resets its handlers when it exits; a later signal would kill the process.
        signal.setitimer(signal.ITIMER_REAL, 0)

"""End when the process that launched this one is gone.

A Hub that is killed cannot stop what it launched. An ngshare that it left behind
would keep the port from the one that the next Hub launches, and ask that Hub with a
token that it does not know: everybody would get 503.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

LOOK_SECONDS = 1.0


@contextlib.contextmanager
def terminate_when_orphaned(launcher: int) -> Iterator[None]:
    """Send this process SIGTERM as soon as its parent is not ``launcher`` any more.

    A timer looks, and not a thread, so that workers can be forked. They have no timer
    of their own: they end with their parent.
    """

    def look(signum: int, frame: FrameType | None) -> None:
        if os.getppid() != launcher:
            signal.setitimer(signal.ITIMER_REAL, 0)
            os.kill(os.getpid(), signal.SIGTERM)

    signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, LOOK_SECONDS, LOOK_SECONDS)
    try:
        yield
    finally:
        # Python drops its handlers when it ends; the next signal would kill it then.
        signal.setitimer(signal.ITIMER_REAL, 0)

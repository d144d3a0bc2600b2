"""Several worker processes on one port.

The first process binds the port, starts the workers and does nothing else but
replace those that die. A worker whose parent is gone ends by itself.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

log = logging.getLogger("ngshare")

SLOW_RESTART_SECONDS = 1.0
"""A worker that dies younger than this is replaced only after as long a wait."""

END_SECONDS = 50
"""How long workers may take to end after SIGTERM: more than they allow themselves."""


def supervise(
    count: int,
    work: Callable[[int], None],
    sockets: Sequence[socket.socket] = (),
    ended: Callable[[int], None] = lambda pid: None,
) -> None:
    """Run ``work`` in ``count`` processes until SIGTERM or SIGINT; return when all have ended.

    Workers that have not ended ``END_SECONDS`` after the signal are killed. One that even that
    does not end, because it waits for a disk in the kernel, is left behind.

    ``work`` gets a file descriptor that becomes readable when the parent is gone.
    ``sockets`` are those on which the workers listen, closed here as soon as they stop:
    else new connections would be taken, and wait for nobody, until the last worker ends.
    ``ended`` is told the process id of each worker that is gone.
    Nothing may have started a thread or an event loop before this is called.
    """
    parent_alive, keep_open = os.pipe()
    started: dict[int, float] = {}
    stopping = False

    def stop(signum: int, frame: FrameType | None) -> None:
        nonlocal stopping
        if not stopping:
            deadline = threading.Timer(END_SECONDS, _end_without, [started])
            deadline.daemon = True  # it keeps nothing from ending sooner
            deadline.start()
        stopping = True
        for pid in started:
            with contextlib.suppress(ProcessLookupError):  # ended this moment
                os.kill(pid, signal.SIGTERM)
        for listening in sockets:
            listening.close()

    def start() -> None:
        # Signals wait until the child is on the list, or has handlers of its own.
        signals = {signal.SIGTERM, signal.SIGINT}
        signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        if not stopping:  # nobody would tell a worker that starts now
            pid = os.fork()
            if pid == 0:
                _child(work, parent_alive, keep_open, signals)
            started[pid] = time.monotonic()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for _ in range(count):
        start()
    while started:
        pid, status = os.wait()
        born = started.pop(pid, None)
        ended(pid)
        if born is None or stopping:
            continue
        log.error(
            "Worker %d ended (%s); starting another. What it had acknowledged is stored.",
            pid,
            os.waitstatus_to_exitcode(status),
        )
        if time.monotonic() - born < SLOW_RESTART_SECONDS:
            time.sleep(SLOW_RESTART_SECONDS)
        start()
    os.close(parent_alive)
    os.close(keep_open)


def _end_without(started: Mapping[int, float]) -> None:
    """Kill the workers that are left, and end this process even if they do not."""
    left = list(started)
    log.error(
        "Stopped without these workers, which did not end within %s s: %s",
        END_SECONDS,
        ", ".join(map(str, left)),
    )
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)  # the main thread returns now, if they can be killed
    logging.shutdown()
    os._exit(0)


def once() -> Callable[[], bool]:
    """What says True to the first who asks, of this process and all that are forked later."""
    asked, answer = os.pipe()
    os.write(answer, b"1")
    os.set_blocking(asked, False)

    def ask() -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(asked, 1))
        return False

    return ask


def _child(
    work: Callable[[int], None], parent_alive: int, keep_open: int, signals: set[signal.Signals]
) -> None:
    os.close(keep_open)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
    code = 1
    try:
        work(parent_alive)
        code = 0
    except KeyboardInterrupt:
        code = 0
    except Exception:
        log.exception("Worker %d failed", os.getpid())
    finally:
        logging.shutdown()
        os._exit(code)

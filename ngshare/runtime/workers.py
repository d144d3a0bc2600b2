"""Run several worker processes that share a port.

The parent process listens, forks the workers, and replaces those that die. Workers stop when
their parent has ended.
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

log = logging.getLogger("ngshare")

SLOW_RESTART_SECONDS = 1.0
"""The delay before a worker is replaced that died within this time of its start."""

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}
SIGNALS = {*STOP_SIGNALS, signal.SIGCHLD}
"""The signals that the parent waits for."""

KILL_SECONDS = 50
"""When workers are killed after SIGTERM: later than their own timeouts together."""


def supervise(
    count: int,
    run_worker: Callable[[int], None],
    sockets: Sequence[socket.socket] = (),
    on_exit: Callable[[int], None] = lambda pid: None,
) -> None:
    """Run ``count`` worker processes until SIGTERM or SIGINT; return when all have ended.

    Workers that are still running ``KILL_SECONDS`` after the signal are killed; one that is
    blocked in the kernel even so is abandoned. Call this before any thread or event loop is
    started.

    run_worker: runs in each worker, with a file descriptor that becomes readable when the
        parent has ended.
    sockets: the sockets on which the workers listen. The parent closes its copies at the signal:
        otherwise the system would accept connections that no worker serves any more.
    on_exit: is called with the process id of each worker that has ended.
    """
    parent_pipe, parent_end = os.pipe()
    started: dict[int, float] = {}  # process ids and start times
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:
            deadline = threading.Timer(KILL_SECONDS, _kill_and_exit, [started])
            deadline.daemon = True  # does not delay a normal exit
            deadline.start()
        stopping = True
        for pid in started:
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, signal.SIGTERM)
        for listening in sockets:
            listening.close()

    def start() -> None:
        pid = os.fork()
        if pid == 0:
            _run_child(run_worker, parent_pipe, parent_end)
        started[pid] = time.monotonic()

    def replace(pid: int, status: int) -> None:
        started_at = started.pop(pid, None)
        on_exit(pid)
        if started_at is None or stopping:
            return
        log.error(
            "Worker %d ended (%s); starting another. What it had acknowledged is stored.",
            pid,
            os.waitstatus_to_exitcode(status),
        )
        wait = SLOW_RESTART_SECONDS if time.monotonic() - started_at < SLOW_RESTART_SECONDS else 0
        if signal.sigtimedwait(STOP_SIGNALS, wait):
            stop()
        else:
            start()

    # The signals are blocked and waited for: a handler would not run before a worker ends if its
    # signal came just before ``os.wait``. They stay blocked, so that none changes the exit code.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    for _ in range(count):
        start()
    while started:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid:
            replace(pid, status)
        elif signal.sigwaitinfo(SIGNALS).si_signo in STOP_SIGNALS:
            stop()
    os.close(parent_pipe)
    os.close(parent_end)


def _kill_and_exit(started: Mapping[int, float]) -> None:
    """Kill the remaining workers, and exit this process even if they do not end.

    started: has the process ids of the remaining workers as keys.
    """
    left = list(started)
    log.error(
        "Stopped without these workers, which did not end within %s s: %s",
        KILL_SECONDS,
        ", ".join(map(str, left)),
    )
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    time.sleep(1)  # if they end, the main thread returns from ``supervise`` now
    logging.shutdown()
    os._exit(0)


def once_across_forks() -> Callable[[], bool]:
    """Return a function that returns True at its first call, and False at all others.

    That is the first call in this process and the processes that it forks, taken together.
    """
    read_end, write_end = os.pipe()
    os.write(write_end, b"1")
    os.set_blocking(read_end, False)

    def is_first() -> bool:
        with contextlib.suppress(BlockingIOError):
            return bool(os.read(read_end, 1))
        return False

    return is_first


def _run_child(run_worker: Callable[[int], None], parent_pipe: int, parent_end: int) -> None:
    """Run a worker in a forked process, and exit the process.

    parent_end: the parent's end of the pipe, which must be closed here.
    """
    os.close(parent_end)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    code = 1
    try:
        run_worker(parent_pipe)
        code = 0
    except KeyboardInterrupt:
        code = 0
    except Exception:
        log.exception("Worker %d failed", os.getpid())
    finally:
        logging.shutdown()
        os._exit(code)

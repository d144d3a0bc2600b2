"""Serve HTTP until SIGTERM, then shut down gracefully within a bounded time."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from tornado.web import Application

from ngshare.web.server import make_server
from ngshare.web.service import Service

log = logging.getLogger("ngshare")

DRAIN_SECONDS = 25
"""Timeout of requests in flight after SIGTERM.

JupyterHub 6 kills a service 60 s after SIGTERM, JupyterHub 5 after 15 s.
"""

FLUSH_SECONDS = 3
"""Timeout of writing the buffered reads to the audit log."""

EXIT_SECONDS = 5
"""Timeout of worker threads after that; then the process exits without them."""


def stop_event(parent_pipe: int | None) -> asyncio.Event:
    """Return an event that is set at SIGTERM or SIGINT, or when the parent process ends.

    parent_pipe: a file descriptor that becomes readable then; see ``supervise``.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if parent_pipe is not None:
        loop.add_reader(parent_pipe, stop.set)
    return stop


async def serve(
    service: Service,
    application: Application,
    sockets: Sequence[socket.socket],
    stop: asyncio.Event,
    *,
    background: Iterable[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Serve until ``stop`` is set, then finish the requests in flight.

    background: coroutine functions that run as tasks, and are cancelled when ``stop`` is set.
    """
    _freeze_garbage_collector()
    server = make_server(application)
    server.add_sockets(sockets)
    tasks = [asyncio.create_task(function()) for function in background]
    await stop.wait()
    for task in tasks:
        task.cancel()
    server.stop()
    await _flush(service)  # at once: the process may be killed before it has drained
    try:
        await asyncio.wait_for(service.idle(), DRAIN_SECONDS)
    except asyncio.TimeoutError:
        log.error("Some requests took over %d s to finish and were cut off", DRAIN_SECONDS)
    else:
        log.info("Every request in flight is finished")
    await server.close_all_connections()
    await _flush(service)
    _exit_after(EXIT_SECONDS)
    await asyncio.to_thread(service.close)


def _freeze_garbage_collector() -> None:
    """Exempt all present objects from garbage collection.

    Modules, classes and functions are never freed, and a collection that traverses them all
    pauses the process for tens of milliseconds.
    """
    gc.collect()
    gc.freeze()


def _exit_after(seconds: float) -> None:
    """Exit the process after a timeout, even if threads are still blocked.

    At exit, Python waits for the threads of thread pools: forever, when a disk does not answer.
    """

    def end() -> None:
        stuck = sorted(
            thread.name
            for thread in threading.enumerate()
            if not thread.daemon and not thread.name.startswith(("MainThread", "asyncio"))
        )
        log.error(
            "Stopped without these threads, which still waited for a disk or the database after "
            "%s s: %s",
            seconds,
            ", ".join(stuck) or "none",
        )
        logging.shutdown()
        os._exit(0)

    timer = threading.Timer(seconds, end)
    timer.daemon = True  # does not delay a normal exit
    timer.start()


async def _flush(service: Service) -> None:
    try:
        await asyncio.wait_for(service.finish(), FLUSH_SECONDS)
    except asyncio.TimeoutError:
        log.error("The reads of the last seconds are missing from the audit log")

"""Serve until SIGTERM, finish the requests in flight, and end in a bounded time."""

from __future__ import annotations

import asyncio
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

STOP_SECONDS = 25
"""How long requests in flight may take after SIGTERM. JupyterHub 6 kills after 60 s, 5 after 15."""

FLUSH_SECONDS = 3
"""How long the reads that are still in memory may take to be written to the audit log."""

EXIT_SECONDS = 5
"""How long worker threads and everything else may take to end after that."""


def stop_event(alive: int | None) -> asyncio.Event:
    """Set at SIGTERM or SIGINT, or when ``alive`` becomes readable: then the parent is gone."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if alive is not None:
        loop.add_reader(alive, stop.set)
    return stop


async def serve(
    service: Service,
    application: Application,
    sockets: Sequence[socket.socket],
    stop: asyncio.Event,
    *,
    meanwhile: Iterable[Callable[[], Coroutine[Any, Any, None]]] = (),
) -> None:
    """Serve until ``stop``. What is named as ``meanwhile`` runs beside it, and is given up then."""
    server = make_server(application)
    server.add_sockets(sockets)
    beside = [asyncio.create_task(each()) for each in meanwhile]
    await stop.wait()
    for task in beside:
        task.cancel()
    server.stop()
    await _flush(service)  # now, for whoever stops us may not wait until the end
    try:
        await asyncio.wait_for(service.idle(), STOP_SECONDS)
    except asyncio.TimeoutError:
        log.error("Some requests took over %d s to finish and were cut off", STOP_SECONDS)
    else:
        log.info("Every request in flight is finished")
    await server.close_all_connections()
    await _flush(service)
    _exit_within(EXIT_SECONDS)
    await asyncio.to_thread(service.close)


def _exit_within(seconds: float) -> None:
    """End the process after so many seconds, whatever its threads wait for.

    Python waits at exit for every thread of a pool, for ever when a disk does not answer.
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
    timer.daemon = True  # it keeps nothing from ending sooner
    timer.start()


async def _flush(service: Service) -> None:
    try:
        await asyncio.wait_for(service.finish(), FLUSH_SECONDS)
    except asyncio.TimeoutError:
        log.error("The reads of the last seconds are missing from the audit log")

"""One process serves until it is told to stop, and then finishes what it has begun."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from tornado.web import Application

from ngshare.web.server import make_server
from ngshare.web.service import Service

log = logging.getLogger("ngshare")

STOP_SECONDS = 25
"""How long requests in flight may take after SIGTERM. JupyterHub 6 kills after 60 s, 5 after 15."""

FLUSH_SECONDS = 3
"""How long what is still kept in memory may take to be written after that."""


def told_to_stop(alive: int | None) -> asyncio.Event:
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
    service.close()


async def _flush(service: Service) -> None:
    try:
        await asyncio.wait_for(service.finish(), FLUSH_SECONDS)
    except asyncio.TimeoutError:
        log.error("The reads of the last seconds are missing from the audit log")

"""The parts of a running service, and how handlers reach them without blocking the event loop."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ParamSpec, TypeVar, cast

from ngshare.actions import audit, users
from ngshare.actions.access import Caller
from ngshare.actions.audit import ReadEvent
from ngshare.blobs import BlobStore
from ngshare.db.transactions import BUSY, Action, Attempts, Database
from ngshare.errors import OutOfSpace, Unavailable
from ngshare.web.auth.identity import Identity
from ngshare.web.bodies.client_limits import PerUser, SlowConnections
from ngshare.web.bodies.spool import Spool
from ngshare.web.database_threads import DatabaseThreads
from ngshare.web.monitoring.counted_blobs import CountedBlobs
from ngshare.web.monitoring.metrics import Metrics
from ngshare.web.monitoring.readiness import Readiness
from ngshare.web.proxy import parse_networks
from ngshare.web.rate_limit import RateLimit
from ngshare.web.read_log import ReadLog
from ngshare.web.reservations import Reservations
from ngshare.web.tree_cache import TreeCache

P = ParamSpec("P")
T = TypeVar("T")


FILE_THREADS = 8
"""How many threads write, read and decode files."""

REPLIES = 8
"""How many lists and kept trees one user is sent at once; each takes up to a few MiB."""


class Service:
    """What every handler works with: the parts of the running service.

    The limits: ``max_body`` in bytes of one request, ``max_files`` of one tree,
    ``max_course_bytes`` of all the trees of a course (None: no limit), and
    ``requests_per_minute`` of one user (0: no limit). Of bodies larger than a MiB, one user sends
    ``uploads_per_user`` at once, and all together may take ``max_spool`` bytes in ``spool_folder``
    (None: the system's). A client that stands still for ``idle_seconds``, or moves fewer than
    ``least_speed`` bytes a second on average, is cut off. With ``open_metrics`` anyone may
    read the metrics. ``readiness_patience`` is for how many seconds readiness waits.
    ``trusted_proxies`` are addresses or networks of proxies in front of the nearest one.
    """

    def __init__(
        self,
        *,
        database: Database,
        blobs: BlobStore,
        identity: Identity,
        admins: Iterable[str] = (),
        debug: bool = False,
        threads: int = 1,
        max_body: int = 512 * 2**20,
        spool_folder: Path | None = None,
        max_spool: int = 4096 * 2**20,
        uploads_per_user: int = 4,
        idle_seconds: float = 60.0,
        least_speed: float = 1000.0,
        max_files: int = 10_000,
        max_course_bytes: int | None = None,
        requests_per_minute: int = 0,
        open_metrics: bool = False,
        readiness_patience: float = 2.0,
        trusted_proxies: Iterable[str] = (),
        metrics: Metrics | None = None,
    ) -> None:
        self.database = database
        self.identity = identity
        self.admins = frozenset(admins)
        self.debug = debug
        self.max_body = max_body
        self.spool = Spool(spool_folder, max_spool, self.on_files)
        self.uploads = PerUser(uploads_per_user)
        self.replies = PerUser(REPLIES)
        self.file_work = PerUser(FILE_THREADS // 2)
        self.slow_connections = SlowConnections(idle_seconds, least_speed)
        self.large = asyncio.Semaphore(1)
        """Held while a body that is in a file is parsed, so that it is done one at a time."""
        self.reservations = Reservations()
        self.tree_cache = TreeCache()
        self.max_files = max_files
        self.max_course_bytes = max_course_bytes
        self.rate = RateLimit(requests_per_minute)
        self.open_metrics = open_metrics
        self.trusted_proxies = parse_networks(trusted_proxies)
        self.metrics = metrics or Metrics()
        self.blobs: BlobStore = CountedBlobs(blobs, self.metrics)
        database.retried = self.metrics.database_retries.inc
        identity.attach(self.metrics, lambda user: self.rate.check(user))
        self.reads = ReadLog(self._write_reads, self.metrics.reads_not_logged.inc)
        self.readiness = Readiness(database, blobs, readiness_patience)
        self._database_threads = DatabaseThreads(threads)
        # A read waits for the writes before it only, and one that finds the database locked waits
        # outside: all of those that a class sends at once must not stand in front of it.
        self._writing = asyncio.Semaphore(threads + 1)
        # Hashing, syncing and base64 let go of the interpreter's lock, and mostly wait.
        self._file_threads = ThreadPoolExecutor(FILE_THREADS, "files")
        self._seen: set[str] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def behind_hub(self) -> bool:
        """Whether a Hub says who the callers are; else every request is believed."""
        return self.identity.login_by_redirect

    def begin_request(self) -> None:
        """Count a request that must be finished before the service stops."""
        self._in_flight += 1
        self.metrics.requests_in_flight.inc()
        self._idle.clear()

    def end_request(self) -> None:
        """Count it off again."""
        self._in_flight -= 1
        self.metrics.requests_in_flight.dec()
        if self._in_flight == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Wait until no request is in flight."""
        await self._idle.wait()

    async def read(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes nothing, off the event loop."""
        return await self._on_database(self.database.try_read(action, *args, **kwargs))

    async def write(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that changes something, off the event loop, durably."""
        async with self._writing:
            return await self._on_database(self.database.try_write(action, *args, **kwargs))

    async def on_files(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run something that computes or waits for the disk, off the event loop."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._file_threads, call)

    async def see(self, name: str) -> Caller:
        """The caller of this name, remembered in the database when seen for the first time."""
        if name not in self._seen:
            if not await self.read(users.was_seen, name):
                await self.write(users.mark_seen, name)
            self._seen.add(name)
        return Caller(name, name in self.admins)

    def forget_seen(self) -> None:
        """Look again whether users are known; for after the database was cleared."""
        self._seen.clear()

    async def finish(self) -> None:
        """Write what is still kept in memory."""
        await self.reads.flush()

    def close(self) -> None:
        """Wait until the worker threads have ended, however long, and close the database."""
        self._database_threads.shutdown()
        self._file_threads.shutdown()
        self.readiness.close()
        self.database.close()

    async def _write_reads(self, reads: Sequence[ReadEvent]) -> None:
        await self.write(audit.record_reads, reads)

    async def _on_database(self, attempts: Attempts[T]) -> T:
        attempt = functools.partial(_try, attempts)
        try:
            while True:
                pause, result = await self._database_threads.run(attempt)
                if pause is None:
                    return cast(T, result)
                await asyncio.sleep(pause)
        except (OutOfSpace, Unavailable) as error:
            self.metrics.database_errors.labels(_kind(error)).inc()
            raise


def _try(attempts: Attempts[T]) -> tuple[float | None, T | None]:
    """Try once: the seconds until the next try, or None and the result."""
    try:
        return next(attempts), None
    except StopIteration as done:
        return None, done.value


def _kind(error: OutOfSpace | Unavailable) -> str:
    """What the metrics call a failure of the database or the storage."""
    if isinstance(error, OutOfSpace):
        return "full"
    return "gave_up" if error.message == BUSY else "failed"

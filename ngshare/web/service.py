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
from ngshare.web.bodies.client_limits import SlowConnections, UserSemaphores
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
from ngshare.web.write_batches import WriteBatches

P = ParamSpec("P")
T = TypeVar("T")


FILE_THREADS = 8
"""The number of threads that read, write, hash and decode files."""

REPLIES = 8
"""The most lists and cached trees that one user is sent at once; each takes up to a few MiB."""


class Service:
    """The running service, as every handler uses it.

    max_body: the most bytes of one request.
    max_files: the most files of one tree.
    max_course_bytes: the most bytes of all trees of a course; None: no limit.
    requests_per_minute: the limit of one user; 0: no limit.
    spool_folder: the folder for bodies larger than 1 MiB; None: the system's temporary folder.
    max_spool: the most bytes of all bodies in that folder.
    uploads_per_user: the most bodies larger than 1 MiB that one user sends at once.
    idle_seconds: a transfer without progress is cut off after this time.
    least_speed: a slower transfer is cut off, in bytes per second on average.
    open_metrics: anyone may read the metrics.
    readiness_patience: the timeout of the readiness checks, in seconds.
    trusted_proxies: addresses or networks of proxies in front of the nearest one.
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
        max_tree: int = 2048 * 2**20,
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
        self.spool = Spool(spool_folder, max_spool, self.in_file_thread)
        self.upload_slots = UserSemaphores(uploads_per_user)
        self.reply_slots = UserSemaphores(REPLIES)
        self.file_slots = UserSemaphores(FILE_THREADS // 2)
        self.slow_connections = SlowConnections(idle_seconds, least_speed)
        self.parsing_slot = asyncio.Semaphore(1)
        """Allows one body that is in a file to be parsed at a time, which bounds memory."""
        self.reservations = Reservations()
        self.tree_cache = TreeCache()
        self.max_files = max_files
        self.max_tree = max_tree
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
        # Few writes are queued for the threads, so that a read does not wait behind all of those
        # that a class sends at once.
        self._writing = asyncio.Semaphore(threads + 1)
        is_sqlite = database.url.get_backend_name() == "sqlite"
        self._batches = WriteBatches(database, self._in_database_thread) if is_sqlite else None
        # Hashing, syncing and base64 release the interpreter lock.
        self._file_threads = ThreadPoolExecutor(FILE_THREADS, "files")
        self._seen: set[str] = set()
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def behind_hub(self) -> bool:
        """True if a Hub identifies the callers; a stand-alone service believes every request."""
        return self.identity.login_by_redirect

    def begin_request(self) -> None:
        """Count a request that must be finished before the service stops."""
        self._in_flight += 1
        self.metrics.requests_in_flight.inc()
        self._idle.clear()

    def end_request(self) -> None:
        """Count the end of a request."""
        self._in_flight -= 1
        self.metrics.requests_in_flight.dec()
        if self._in_flight == 0:
            self._idle.set()

    async def idle(self) -> None:
        """Return when no request is in flight."""
        await self._idle.wait()

    async def read(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that only reads, in a database thread."""
        return await self._in_database_thread(self.database.read_attempts(action, *args, **kwargs))

    async def write(self, action: Action[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run an action that writes, in a database thread. Its commit is durable."""
        if self._batches is not None:
            return await self._batches.write(lambda connection: action(connection, *args, **kwargs))
        async with self._writing:
            return await self._in_database_thread(
                self.database.write_attempts(action, *args, **kwargs)
            )

    async def in_file_thread(
        self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Run a function that computes or waits for the disk, in a file thread."""
        call = functools.partial(function, *args, **kwargs)
        return await asyncio.get_running_loop().run_in_executor(self._file_threads, call)

    async def make_caller(self, name: str) -> Caller:
        """Return the caller of this name, and record a first request in the database."""
        if name not in self._seen:
            if not await self.read(users.was_seen, name):
                await self.write(users.mark_seen, name)
            self._seen.add(name)
        return Caller(name, name in self.admins)

    def forget_seen(self) -> None:
        """Forget which users are recorded; call it after the database was cleared."""
        self._seen.clear()

    async def finish(self) -> None:
        """Write the buffered entries of the audit log."""
        await self.reads.flush()

    def close(self) -> None:
        """Wait for the worker threads to end, without a timeout, and close the database."""
        self._database_threads.shutdown()
        self._file_threads.shutdown()
        self.readiness.close()
        self.database.close()

    async def _write_reads(self, reads: Sequence[ReadEvent]) -> None:
        await self.write(audit.record_reads, reads)

    async def _in_database_thread(self, attempts: Attempts[T]) -> T:
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
    """Make one attempt. Return the seconds until the next one, or None and the result."""
    try:
        return next(attempts), None
    except StopIteration as done:
        return None, done.value


def _kind(error: OutOfSpace | Unavailable) -> str:
    """Return the label of a failure for the metrics."""
    if isinstance(error, OutOfSpace):
        return "full"
    return "gave_up" if error.message == BUSY else "failed"

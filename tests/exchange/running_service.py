"""A stand-alone ngshare in a thread of the test's process, for clients that block."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from tornado.httputil import HTTPServerRequest
from tornado.netutil import bind_sockets

from ngshare.blobs import LocalBlobs
from ngshare.db.transactions import Database
from ngshare.db.urls import parse_url
from ngshare.web.application import make_application
from ngshare.web.auth.standalone import StandaloneIdentity
from ngshare.web.server import make_server
from ngshare.web.service import Service
from tests.process.site import files_field

PREFIX = "/api/"
ADMIN = "root"
INSTRUCTOR = "ada"


class RunningService:
    """The service at ``url``. ``requests`` has the method and the path of each request so far."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.url = f"http://127.0.0.1:{port}{PREFIX}".rstrip("/")
        self.requests: list[str] = []

    def call(self, method: str, *path: str, user: str = INSTRUCTOR, **fields: str) -> Any:
        """Send a request as the clients of ngshare 0.6 do, and return the JSON of its success."""
        address = self.url + "/" + "/".join(quote(name, safe="") for name in path)
        encoded = urlencode({"user": user, **fields})
        body = encoded.encode() if method == "POST" else None
        if body is None:
            address += f"?{encoded}"
        request = urllib.request.Request(address, body, method=method)
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:
                return json.loads(reply.read())
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{method} {address}: {error} {error.read()!r}") from None

    def create_course(
        self, course: str, *students: str, instructors: tuple[str, ...] = (INSTRUCTOR,)
    ) -> None:
        """Create a course with these members."""
        names = json.dumps(instructors)
        self.call("POST", "course", course, user=ADMIN, instructors=names)
        for student in students:
            self.call(
                "POST",
                "student",
                course,
                student,
                user=ADMIN,
                first_name="",
                last_name="",
                email="",
            )

    def release(self, course: str, assignment: str, files: dict[str, bytes]) -> None:
        """Release an assignment, by the compatible protocol."""
        self.call("POST", "assignment", course, assignment, files=files_field(files))

    def submissions(self, course: str, assignment: str, student: str) -> list[dict[str, bytes]]:
        """Return the files of a student's submissions, oldest first."""
        rows = self.call("GET", "submissions", course, assignment, student)["submissions"]
        times = [row["timestamp"] for row in rows]
        place = ("submission", course, assignment, student)
        return [_files(self.call("GET", *place, timestamp=time)) for time in times]

    def give_feedback(
        self, course: str, assignment: str, student: str, files: dict[str, bytes]
    ) -> None:
        """Give feedback on a student's latest submission."""
        rows = self.call("GET", "submissions", course, assignment, student)["submissions"]
        place = ("feedback", course, assignment, student)
        time = rows[-1]["timestamp"]
        self.call("POST", *place, timestamp=time, files=files_field(files))


def _files(reply: Any) -> dict[str, bytes]:
    import base64

    return {file["path"]: base64.b64decode(file["content"]) for file in reply["files"]}


@contextlib.contextmanager
def running_service(database_url: str, folder: Path, **settings: Any) -> Iterator[RunningService]:
    """Run a service with an empty storage in ``folder``; ``settings`` are those of ``Service``."""
    started: list[RunningService] = []
    ready = threading.Event()
    stop: list[Any] = []

    async def serve() -> None:
        database = Database(parse_url(database_url), connections=2)
        service = Service(
            database=database,
            blobs=LocalBlobs(folder / "files"),
            identity=StandaloneIdentity(),
            admins=[ADMIN],
            **settings,
        )
        application = make_application(service, PREFIX, hub=False, cookie_secret=b"secret")
        server = make_server(application)
        sockets = bind_sockets(0, "127.0.0.1")
        running = RunningService(service, sockets[0].getsockname()[1])
        find_handler = application.find_handler

        def count(request: HTTPServerRequest, **options: Any) -> Any:
            running.requests.append(f"{request.method} {request.path}")
            return find_handler(request, **options)

        application.find_handler = count  # type: ignore[method-assign]
        server.add_sockets(sockets)
        finished = asyncio.Event()
        stop.append((asyncio.get_running_loop(), finished))
        started.append(running)
        ready.set()
        await finished.wait()
        server.stop()
        await server.close_all_connections()
        await service.finish()
        service.close()

    def run() -> None:
        try:
            asyncio.run(serve())
        finally:
            ready.set()

    thread = threading.Thread(target=run)
    thread.start()
    ready.wait()
    try:
        yield started[0]
    finally:
        loop, finished = stop[0]
        loop.call_soon_threadsafe(finished.set)
        thread.join()

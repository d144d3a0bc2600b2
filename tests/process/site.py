"""A site: a database and a storage folder, the processes that serve them, and their clients."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

from sqlalchemy import text

from ngshare.db.engine import make_engine
from ngshare.db.urls import parse_url
from tests.process.forked import ForkedProcess, run_forked

T = TypeVar("T")

ADMIN = "ada"
COMMAND = (sys.executable, "-m", "ngshare")
"""Starts an interpreter, for tests about that. Others fork: see ``forked.py``."""

PATIENCE = 60
"""For how many seconds anything is waited for before a test gives up."""

Trees = dict[str, bytes]
"""The files of a directory tree: their contents by path."""


def wait_for(what: str, condition: Callable[[], T]) -> T:
    """What the condition returns, as soon as that is true."""
    give_up = time.monotonic() + PATIENCE
    while time.monotonic() < give_up:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError(f"waited {PATIENCE} s in vain: {what}")


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Run ``work`` in so many threads that start at the same moment. Return what each returned."""
    barrier = threading.Barrier(count)
    results: dict[int, T] = {}
    failures: list[BaseException] = []

    def run(number: int) -> None:
        try:
            barrier.wait(PATIENCE)
            results[number] = work(number)
        except BaseException as failure:
            failures.append(failure)

    threads = [threading.Thread(target=run, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(2 * PATIENCE)
        assert not thread.is_alive()
    if failures:
        raise failures[0]
    return [results[number] for number in range(count)]


def runs(pid: int) -> bool:
    """Whether there is such a process, and not just what is left of it until somebody asks."""
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def open_files(pid: int) -> list[str]:
    """What the file descriptors of a process lead to: paths, and sockets by number."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for each in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed this moment
                found.append(str(each.readlink()))
    return found


def form(user: str, **fields: str) -> bytes:
    """A request's body as the old clients send it."""
    return urlencode({"user": user, **fields}).encode()


def files_field(files: Trees) -> str:
    """The ``files`` of a request."""
    return json.dumps(
        [
            {"path": path, "content": base64.encodebytes(content).decode()}
            for path, content in files.items()
        ]
    )


@dataclass
class Reply:
    """What the service answered."""

    status: int
    json: dict[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def files(self) -> Trees:
        """The tree of the reply; every checksum of it is right."""
        return {file["path"]: base64.b64decode(file["content"]) for file in self.json["files"]}


class Client:
    """One user on one connection. A connection that the service closed is opened again."""

    def __init__(self, port: int, user: str) -> None:
        self.user = user
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *failure: object) -> None:
        self.connection.close()

    def get(self, *path: str, **query: str) -> Reply:
        return self._send("GET", path, query={"user": self.user, **query})

    def delete(self, *path: str, **query: str) -> Reply:
        return self._send("DELETE", path, query={"user": self.user, **query})

    def post(self, *path: str, **fields: str) -> Reply:
        return self._send("POST", path, body=form(self.user, **fields))

    def release(self, course: str, assignment: str, files: Trees) -> Reply:
        return self.post("assignment", course, assignment, files=files_field(files))

    def submit(self, course: str, assignment: str, files: Trees) -> Reply:
        return self.post("submission", course, assignment, files=files_field(files))

    def collect(self, course: str, assignment: str, student: str, timestamp: str) -> Trees:
        reply = self.get("submission", course, assignment, student, timestamp=timestamp)
        assert reply.status == 200, reply
        assert reply.json["timestamp"] == timestamp
        return reply.files

    def _send(
        self,
        method: str,
        path: tuple[str, ...],
        query: dict[str, str] | None = None,
        body: bytes | None = None,
    ) -> Reply:
        target = "/api/" + "/".join(quote(part, safe="") for part in path)
        if query:
            target += "?" + urlencode(query)
        headers = {"Content-Type": "application/x-www-form-urlencoded"} if body else {}
        self.connection.request(method, target, body, headers)
        response = self.connection.getresponse()
        return Reply(response.status, json.loads(response.read()), response.headers)


class Server:
    """A running ``python -m ngshare`` with all of its processes, in a session of its own."""

    def __init__(
        self,
        command: Sequence[str] | None,
        arguments: list[str],
        folder: Path,
        environment: dict[str, str],
        log: Path,
    ) -> None:
        self.log = log
        self.process: ForkedProcess | subprocess.Popen[bytes]
        with self.log.open("w") as output:
            if command is None:
                self.process = ForkedProcess(
                    arguments, folder=folder, environment=environment, stdout=output, stderr=output
                )
            else:
                self.process = subprocess.Popen(
                    [*command, *arguments],
                    cwd=folder,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                )
        self.pid = self.process.pid
        self.port = wait_for("the line that says where it listens", self._port)
        wait_for("health", self.healthy)

    @property
    def output(self) -> str:
        """Everything it wrote so far."""
        return self.log.read_text()

    def client(self, user: str = ADMIN) -> Client:
        return Client(self.port, user)

    def healthy(self) -> bool:
        """Whether it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        with contextlib.closing(connection), contextlib.suppress(OSError):
            connection.request("GET", "/healthz")
            return connection.getresponse().read() == b'{"success": true}'
        return False

    def workers(self) -> set[int]:
        """The ids of its worker processes, without those that have ended."""
        text = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text()
        return {int(pid) for pid in text.split() if runs(int(pid))}

    def worker_of(self, connection: socket.socket) -> int | None:
        """Which worker has taken this connection; None as long as nobody has."""
        port = connection.getsockname()[1]
        ends = [f":{self.port:04X}", f":{port:04X}"]
        for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
            _, local, remote, *_, inode = line.split()[:10]
            if [local[-5:], remote[-5:]] == ends:
                taken = f"socket:[{inode}]"
                return next((pid for pid in self.workers() if taken in open_files(pid)), None)
        return None

    def terminate(self) -> None:
        """Tell it to stop, as Kubernetes and the Hub do."""
        self.process.send_signal(signal.SIGTERM)

    def ended(self) -> int:
        """Its exit code, once it has one."""
        return self.process.wait(PATIENCE)

    def stop(self) -> int:
        """Tell it to stop, and return its exit code."""
        self.terminate()
        return self.ended()

    def kill(self) -> None:
        """End it and its workers at once, as a crash would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.ended()
        wait_for("the end of every worker", self._gone)

    def _gone(self) -> bool:
        for entry in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                # After the name, which may hold anything: state, parent, group.
                state, _, group = entry.read_text().rpartition(")")[2].split()[:3]
                if int(group) == self.pid and state != "Z":
                    return False
        return True

    def _port(self) -> int | None:
        found = re.search(r"listens on http://[^/]+:(\d+)/", self.output)
        if found is None:
            assert self.process.poll() is None, self.output
            return None
        return int(found[1])


class Site:
    """A folder with a storage of its own, and a database: SQLite in there unless one is named."""

    def __init__(self, folder: Path, database: str | None = None) -> None:
        self.folder = folder
        self.database_file = folder / "ngshare.db"
        self.database = database or f"sqlite:///{self.database_file}"
        self.storage = folder / "files"
        self.servers: list[Server] = []
        self.environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("JUPYTERHUB_", "PYTEST_"))
        }

    def start(
        self,
        *arguments: str,
        standalone: bool = True,
        admins: str = ADMIN,
        command: Sequence[str] | None = None,
        **environment: str,
    ) -> Server:
        """Start the service and wait until it answers.

        command: begins the command line; None forks a process instead.
        """
        server = Server(
            command,
            [*self.arguments(standalone, admins), *arguments],
            self.folder,
            {**self.environment, **environment},
            self.folder / f"log-{len(self.servers)}.txt",
        )
        self.servers.append(server)
        return server

    def arguments(self, standalone: bool = True, admins: str = ADMIN) -> list[str]:
        """What nearly every test gives. Of a flag that stands twice, the last counts."""
        return [
            *(["--vngshare", "--port", "0"] if standalone else []),
            *("--database", self.database),
            *("--storage", str(self.storage), f"--admins={admins}"),
        ]

    def run(
        self, *arguments: str, command: Sequence[str] | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run the command to its end, with nothing but these arguments.

        command: begins the command line; None forks a process instead.
        """
        variables = {**self.environment, **environment}
        if command is None:
            return run_forked(
                arguments, folder=self.folder, environment=variables, timeout=PATIENCE
            )
        return subprocess.run(
            [*command, *arguments],
            cwd=self.folder,
            env=variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def refusal(
        self, *arguments: str, command: Sequence[str] | None = None, **environment: str
    ) -> str:
        """The one line with which ngshare refuses to start."""
        result = self.run(*arguments, command=command, **environment)
        assert result.returncode == 1, result
        assert result.stdout == ""
        assert result.stderr.startswith("ngshare: ")
        assert result.stderr.count("\n") == 1, result.stderr
        return result.stderr.removeprefix("ngshare: ").rstrip()

    @contextlib.contextmanager
    def sql(self) -> Iterator[sqlite3.Connection]:
        """The SQLite database itself, opened beside the service."""
        connection = sqlite3.connect(self.database_file)
        with contextlib.closing(connection):
            yield connection

    def rows(self, query: str, **values: object) -> list[Any]:
        """What the database itself answers, opened beside the service."""
        engine = make_engine(parse_url(self.database))
        try:
            with engine.connect() as connection:
                return [tuple(row) for row in connection.execute(text(query), values)]
        finally:
            engine.dispose()

    def execute(self, statement: str) -> None:
        """Change something in the database itself, beside the service."""
        engine = make_engine(parse_url(self.database))
        try:
            with engine.begin() as connection:
                connection.execute(text(statement))
        finally:
            engine.dispose()

    def close(self) -> None:
        """End every process that this site started."""
        for server in self.servers:
            server.kill()

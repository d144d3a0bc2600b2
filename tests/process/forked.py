"""Processes of ngshare for tests, forked from one that has imported it (``fork_server.py``)."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO

SERVER = Path(__file__).with_name("fork_server.py")

INTERPRETER = ("PYTHON", "LC_", "LANG", "LD_", "MALLOC_")
"""The beginnings of variables that are read before a program's first line."""

File = int | IO[bytes] | IO[str]

_lock = threading.Lock()


@cache
def _fork_server() -> socket.socket:
    """Start the fork server of this process, and return the socket to it. Call with the lock."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, str(SERVER), str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the tests, and they end it
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


class ForkedProcess:
    """A process like that of ``python -m``, in a session of its own.

    Has the methods of ``subprocess.Popen`` that tests need.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        environment: Mapping[str, str],
        stdout: File,
        stderr: File,
        module: str = "ngshare",
    ) -> None:
        _refuse_variables_of_interpreter(environment)
        self.arguments = list(arguments)
        self.returncode: int | None = None
        self._lock = threading.Lock()
        self._answers, answers = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        request = {
            "module": module,
            "arguments": self.arguments,
            "folder": str(folder),
            "environment": dict(environment),
        }
        with answers, open(os.devnull, "r+b") as null:
            streams = [
                null.fileno() if file == subprocess.DEVNULL else _descriptor(file)
                for file in (subprocess.DEVNULL, stdout, stderr)
            ]
            with _lock:
                socket.send_fds(
                    _fork_server(), [json.dumps(request).encode()], [*streams, answers.fileno()]
                )
        self.pid = int(self._answers.recv(100))

    def __enter__(self) -> ForkedProcess:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.wait()

    def poll(self) -> int | None:
        """Return the exit code, or None while it runs."""
        with self._lock:
            if self.returncode is None and select.select([self._answers], [], [], 0)[0]:
                self.returncode = int(self._answers.recv(100))
                self._answers.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended.

        timeout: in seconds. Raises subprocess.TimeoutExpired.
        """
        give_up = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if timeout is not None and give_up is not None and time.monotonic() > give_up:
                raise subprocess.TimeoutExpired(self.arguments, timeout)
            time.sleep(0.005)
        return code

    def send_signal(self, signum: int) -> None:
        """Send a signal to it, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it ends this moment
                os.kill(self.pid, signum)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)


def run_forked(
    arguments: Sequence[str],
    *,
    folder: Path,
    environment: Mapping[str, str],
    timeout: float,
    module: str = "ngshare",
) -> subprocess.CompletedProcess[str]:
    """Run such a process to its end, as ``subprocess.run`` does.

    timeout: in seconds; then the process is killed. Raises subprocess.TimeoutExpired.
    """
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
        process = ForkedProcess(
            arguments,
            folder=folder,
            environment=environment,
            stdout=stdout,
            stderr=stderr,
            module=module,
        )
        try:
            code = process.wait(timeout)
        except BaseException:
            process.kill()
            process.wait()
            raise
        for file in (stdout, stderr):
            file.seek(0)
        return subprocess.CompletedProcess(process.arguments, code, stdout.read(), stderr.read())


def _descriptor(file: File) -> int:
    return file if isinstance(file, int) else file.fileno()


def _refuse_variables_of_interpreter(environment: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that has no effect after the start of an interpreter."""
    for name in environment.keys() | os.environ.keys():
        if name.startswith(INTERPRETER) and environment.get(name) != os.environ.get(name):
            raise ValueError(f"Python reads {name} when it starts: use command=COMMAND")

"""Fork processes of ngshare from one that has imported it, which takes most of the time of a start.

Runs as a program. A message on the socket whose file descriptor is its argument asks for one
process: a JSON object of the module, the arguments, the folder and the environment, with the
descriptors of standard input, output and error, and of a socket for the answers: the process id,
and the exit code when the process has ended. Ends when the other end of the socket is closed.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import tempfile
import time
from typing import Any, NoReturn

LIBRARIES = (
    "alembic.autogenerate.api",
    "jupyterhub.services.auth",
    "psycopg",
    "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite.pysqlite",
    "tornado.simple_httpclient",
)
"""Modules of libraries that a start imports by itself, or not at its beginning."""


def import_service() -> None:
    """Import everything that a service or a command of an administrator imports."""
    import ngshare

    modules = [
        module.name
        for module in pkgutil.walk_packages(ngshare.__path__, "ngshare.")
        if not module.name.startswith(("ngshare.exchange", "ngshare._alembic", "ngshare.__main__"))
    ]
    for name in (*LIBRARIES, *modules):
        importlib.import_module(name)


def run(process: dict[str, Any], stdin: int, stdout: int, stderr: int) -> NoReturn:
    """Become what ``python -m`` with this module and arguments is, and exit as it does."""
    os.setsid()
    for target, descriptor in enumerate((stdin, stdout, stderr)):
        os.dup2(descriptor, target)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=stream is sys.stderr or stream.isatty())  # type: ignore[union-attr]  # not the replacements of tests
    os.chdir(process["folder"])
    os.environ.clear()
    os.environ.update(process["environment"])
    time.tzset()
    tempfile.tempdir = None  # is that of the environment
    sys.path[0] = process["folder"]
    sys.argv = [process["module"], *process["arguments"]]
    runpy.run_module(process["module"], run_name="__main__", alter_sys=True)
    sys.exit()


def watch(process: dict[str, Any], descriptors: list[int]) -> NoReturn:
    """Fork the process, and send its id and its exit code."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, answers = descriptors
    pid = os.fork()
    if pid == 0:
        run(process, *streams)
    for stream in streams:
        os.close(stream)
    os.write(answers, b"%d" % pid)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):  # the test has ended
        os.write(answers, b"%d" % code)
    os._exit(0)


def serve(requests: socket.socket) -> None:
    """Fork processes until the other end of this socket is closed."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # leaves no zombies
    gc.collect()
    gc.freeze()
    while True:
        message, descriptors, _, _ = socket.recv_fds(requests, 2**20, 4)
        if not message:
            return
        if os.fork() == 0:
            requests.detach()
            watch(json.loads(message), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


if __name__ == "__main__":
    sys.path.pop(0)  # the folder of this file
    import_service()
    sys.path.insert(0, "")
    with socket.socket(fileno=int(sys.argv[1])) as requests:
        serve(requests)

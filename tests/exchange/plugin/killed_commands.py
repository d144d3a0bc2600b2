"""Run commands of nbgrader, and kill them at a chosen moment; nbgrader is imported once.

Standard input has a JSON object on a line for each command: its arguments, folder, environment,
and the number of the call of a function of ngshare at which SIGKILL ends it (0: never). Each
command is a process forked from this one. A line on standard output has its exit code and how many
such calls it made, if it came to its end.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from types import FrameType
from typing import Any

from nbgrader.apps.nbgraderapp import main

import ngshare
import ngshare.exchange.plugin.collect
import ngshare.exchange.plugin.fetch_assignment
import ngshare.exchange.plugin.fetch_feedback
import ngshare.exchange.plugin.listing
import ngshare.exchange.plugin.release_assignment
import ngshare.exchange.plugin.release_feedback
import ngshare.exchange.plugin.submit  # imported once, before the forks
from ngshare.exchange.plugin import base
from ngshare.exchange.plugin.base import Exchange

base.COMMAND_RETRY_SECONDS = 1.0

PACKAGE = os.path.dirname(ngshare.__file__) + os.sep


class CallCounter:
    """Counts the calls of functions of ngshare, and ends the process at one of them."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.calls = 0

    def __call__(self, frame: FrameType, event: str, _: Any) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(PACKAGE):
            self.calls += 1
            if self.calls == self.last:
                os.kill(os.getpid(), signal.SIGKILL)


def run(command: dict[str, Any], results: int) -> None:
    """Run a command in this process, and write the number of its calls to a file descriptor."""
    signal.alarm(120)  # ends one that hangs
    output = os.open(command["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.chdir(command["folder"])
    os.environ.clear()
    os.environ.update(command["environment"])
    sys.argv = ["nbgrader", *command["arguments"]]
    counter = CallCounter(command["last"])
    start = Exchange.start

    def count_calls(exchange: Exchange) -> Any:
        sys.setprofile(counter)
        try:
            return start(exchange)
        finally:
            sys.setprofile(None)

    Exchange.start = count_calls
    try:
        main()
    finally:
        os.write(results, str(counter.calls).encode())


for line in sys.stdin:
    request = json.loads(line)
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        run(request, writer)
        sys.exit()
    os.close(writer)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    print(json.dumps([code, int(os.read(reader, 100) or 0)]), flush=True)
    os.close(reader)

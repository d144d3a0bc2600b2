"""What a server's processes use, from ``/proc``, and on which core they run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
START_SECONDS = 60.0


def client_core() -> int | None:
    """The core of the client; None on a machine with one core. Servers run where they like."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[-1] if len(usable) > 1 else None


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port: int = listening.getsockname()[1]
    return port


class Process:
    """A program that was started here, with all that it started."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.log = folder / f"{name}.log"
        self.command = " ".join(command)
        with open(self.log, "ab") as log:
            self.popen = subprocess.Popen(
                list(command),
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def pids(self) -> list[int]:
        """The process and its descendants that live now."""
        children: dict[int, list[int]] = {}
        for entry in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                parent = int(_stat(int(entry.name))[1])
                children.setdefault(parent, []).append(int(entry.name))
        found = [self.popen.pid]
        for pid in found:
            found += children.get(pid, [])
        return found

    def cpu(self) -> float:
        """Seconds of CPU that they used so far, and the children that have ended."""
        used = 0.0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                # The process's own clock, as clock_getcpuclockid(3) numbers it: one request
                # takes less than a tick, in which /proc counts.
                used += time.clock_gettime(~pid << 3 | 2)
                used += sum(int(field) for field in _stat(pid)[13:15]) / TICKS
        return used

    def memory(self) -> int:
        """Bytes of memory that they use now."""
        return self._memory("VmRSS")

    def peak_memory(self) -> int:
        """The most bytes of memory that they used since the last :meth:`forget_peak`."""
        return self._memory("VmHWM")

    def forget_peak(self) -> None:
        """Count the peak of memory from now on."""
        for pid in self.pids():
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text("5")

    def _memory(self, field: str) -> int:
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                for line in Path(f"/proc/{pid}/status").read_text().splitlines():
                    if line.startswith(f"{field}:"):
                        total += int(line.split()[1]) * 1024
        return total

    def wait_for(self, url: str) -> None:
        """Wait until it answers there. Raises RuntimeError with the end of its log."""
        until = time.monotonic() + START_SECONDS
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        while time.monotonic() < until and self.popen.poll() is None:
            with contextlib.suppress(OSError, urllib.error.URLError), opener.open(url, timeout=5):
                return
            time.sleep(0.05)
        said = self.log.read_text("utf8", "replace")[-3000:]
        raise RuntimeError(f"{self.command} does not answer:\n{said}")

    def stop(self) -> None:
        """End it, and wait until it is gone."""
        self.popen.terminate()
        try:
            self.popen.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(self.popen.pid, signal.SIGKILL)
            self.popen.wait(30)


def disk_usage(folder: Path) -> int:
    """Bytes that all below a folder take on the disk."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += os.lstat(os.path.join(root, name)).st_blocks * 512
    return total


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the program's name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()

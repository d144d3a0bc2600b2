"""Show the progress of a long job: a bar on a terminal, otherwise lines in the log."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType
from typing import TextIO

log = logging.getLogger("ngshare")

BAR_SECONDS = 0.1
LINE_SECONDS = 5.0
_WIDTH = 30


class ProgressBar:
    """A progress bar, or lines in the log if ``stream`` is no terminal. Not thread-safe.

    Use it as a context manager.

    label: names the job, as in ``Adopting files``.
    total: the number of steps.
    stream: the output that the bar is drawn on; standard error by default.
    """

    def __init__(self, label: str, total: int, stream: TextIO | None = None) -> None:
        self.label = label
        self.total = total
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar and self.total:
            self._draw()
            self._stream.write("\n")

    def advance(self, steps: int = 1) -> None:
        """Count finished steps; update the bar at most every 0.1 s, the log at most every 5 s."""
        self.done += steps
        now = time.monotonic()
        if now - self._shown < (BAR_SECONDS if self._bar else LINE_SECONDS):
            return
        self._shown = now
        if self._bar:
            self._draw()
        else:
            log.info("%s: %s", self.label, self._text())

    def _draw(self) -> None:
        filled = _WIDTH * self.done // self.total if self.total else _WIDTH
        bar = "#" * filled + "." * (_WIDTH - filled)
        # Erases to the end of the line: the previous text may have been longer.
        self._stream.write(f"\r{self.label} [{bar}] {self._text()}\x1b[K")
        self._stream.flush()

    def _text(self) -> str:
        text = f"{self.done:,} of {self.total:,}"
        elapsed = time.monotonic() - self._started
        if 0 < self.done < self.total and elapsed > 1:
            text += f", about {elapsed * (self.total - self.done) / self.done:.0f} s left"
        return text

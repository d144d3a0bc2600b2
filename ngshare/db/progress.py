"""How far something long has come: a bar on a terminal, else a line in the log now and then."""

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


class Progress:
    """Shown while it is open, as a context manager; :meth:`advance` it from one thread.

    what: what is being done, as in ``Adopting files``. total: how many steps there are.
    """

    def __init__(self, what: str, total: int, stream: TextIO | None = None) -> None:
        self.what = what
        self.total = total
        self.done = 0
        self._stream = sys.stderr if stream is None else stream
        self._bar = self._stream.isatty()
        self._started = self._shown = time.monotonic()

    def __enter__(self) -> Progress:
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
        """So many steps more are done."""
        self.done += steps
        now = time.monotonic()
        if now - self._shown < (BAR_SECONDS if self._bar else LINE_SECONDS):
            return
        self._shown = now
        if self._bar:
            self._draw()
        else:
            log.info("%s: %s", self.what, self._text())

    def _draw(self) -> None:
        filled = _WIDTH * self.done // self.total if self.total else _WIDTH
        bar = "#" * filled + "." * (_WIDTH - filled)
        # The end of the line is erased, because the one before it may have been longer.
        self._stream.write(f"\r{self.what} [{bar}] {self._text()}\x1b[K")
        self._stream.flush()

    def _text(self) -> str:
        text = f"{self.done:,} of {self.total:,}"
        taken = time.monotonic() - self._started
        if 0 < self.done < self.total and taken > 1:
            text += f", about {taken * (self.total - self.done) / self.done:.0f} s left"
        return text

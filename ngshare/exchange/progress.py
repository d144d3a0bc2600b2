"""Progress bars for transfers of more than a second, where a terminal shows them."""

from __future__ import annotations

import sys

from tqdm import tqdm


class Progress:
    """A progress bar that counts bytes. A context manager.

    title: what is transferred. total: its bytes; None if they are unknown.
    """

    def __init__(self, title: str, total: int | None) -> None:
        self._bar = tqdm(
            total=total,
            desc=title,
            unit="B",
            unit_scale=True,
            delay=1.0,
            leave=False,
            disable=not sys.stderr.isatty(),
        )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()

    def add(self, size: int) -> None:
        """Count bytes that were transferred."""
        self._bar.update(size)

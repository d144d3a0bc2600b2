"""Callbacks through which a long job reports its progress."""

from __future__ import annotations

from collections.abc import Callable

Advance = Callable[[int], object]
"""Called with the number of steps that were finished since the last call."""

StartProgress = Callable[[int], Advance]
"""Called once, with the total number of steps; returns the callback that counts them."""

"""What becomes of memory that was freed, and what is looked through for memory to free.

The C library gives large pieces back at once. glibc, left alone, learns from the largest
buffer that was ever freed, up to 32 MiB: from then on it takes buffers of that size from
its own pools, of which each thread has one, and keeps twice as much of each pool. After a
few uploads of 20 MB a process held hundreds of MiB of nothing for ever. With limits that
are set it does not learn.

Python's collector looks for rings of objects that nobody else knows, now and then among all
objects that there are. Most of them are modules, classes and functions, which stay for ever: to
look through those stops everything for tens of milliseconds, in the middle of a storm,
and made an entry of a long list cost three times as much as one of a short list.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc

LARGE = 4 * 2**20
"""Pieces of so many bytes or more are asked of the system, and given back when they are freed."""

KEPT = 16 * 2**20
"""Up to so many free bytes stay at the end of a pool: asking again for each request is slow."""

POOLS = 2
"""For all threads, of which one runs at a time: each would have one of its own, with its rest."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
"""Parameters of ``mallopt``, from glibc's ``malloc.h``."""


def give_back_large_pieces() -> None:
    """Set the limits for this process, and those that it forks. Does nothing without glibc."""
    with contextlib.suppress(AttributeError, OSError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, LARGE)
        mallopt(_TRIM_THRESHOLD, KEPT)
        mallopt(_ARENA_MAX, POOLS)


def keep_what_is_there() -> None:
    """Have the collector look only at objects that are made from now on. For after the start."""
    gc.collect()
    gc.freeze()

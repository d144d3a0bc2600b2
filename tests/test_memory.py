"""What is looked through for memory to free."""

from __future__ import annotations

import gc
import weakref

from ngshare.memory import keep_what_is_there


class Ring:
    """Something that only the collector can free."""

    def __init__(self) -> None:
        self.itself = self


def test_only_what_is_made_later_is_looked_through() -> None:
    before = Ring()
    kept = weakref.ref(before)
    left = weakref.ref(Ring())
    try:
        keep_what_is_there()
        assert left() is None  # it was free already
        del before
        later = weakref.ref(Ring())
        gc.collect()
        assert later() is None
        assert kept() is not None
    finally:
        gc.unfreeze()
        gc.collect()
    assert kept() is None

"""What tests of the database share."""

from __future__ import annotations

import pytest

from ngshare.db import outage


class Clock:
    """The clock by which an outage is timed; a test moves it."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(outage, "time", clock)
    return clock

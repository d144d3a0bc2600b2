"""Log lines about a database server that cannot be reached."""

from __future__ import annotations

import logging

import pytest

from ngshare.db.outage import REMIND_SECONDS, Outage
from tests.db.conftest import Clock


def test_an_outage_is_logged_once_a_minute_and_when_its_reason_changes(
    clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    going = Outage()
    for _ in range(100):
        going.begin("refused")
    assert len(caplog.records) == 1
    going.begin("starting up")
    assert len(caplog.records) == 2
    clock.now += REMIND_SECONDS
    going.begin("starting up")
    assert len(caplog.records) == 3
    going.end()
    going.end()
    assert [record.getMessage() for record in caplog.records[3:]] == [
        "The database answers again, after 60 s"
    ]
    going.begin("starting up")
    assert len(caplog.records) == 5

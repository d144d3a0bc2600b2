"""Receipts as JSON values, and the text that is signed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ngshare.errors import BadRequest
from ngshare.protocol.receipts import Receipt, format_receipt, parse_receipt, signed_text

RECEIPT = Receipt(
    course="Ökonomie II",
    assignment='"ps1"',
    student="sam",
    timestamp="2020-01-01 00:00:00.000000 UTC",
    files=2,
    bytes=10**12,
    digest="0a" * 32,
    signature="c2lnbmF0dXJl",
)


def test_a_receipt_as_json() -> None:
    assert parse_receipt(format_receipt(RECEIPT)) == RECEIPT
    assert parse_receipt({**format_receipt(RECEIPT), "more": 1}) == RECEIPT


def test_the_signed_text() -> None:
    assert signed_text(RECEIPT).decode() == (
        '{"assignment":"\\"ps1\\"","bytes":1000000000000,"course":"Ökonomie II",'
        f'"digest":"{"0a" * 32}","files":2,"student":"sam",'
        '"timestamp":"2020-01-01 00:00:00.000000 UTC"}'
    )
    assert signed_text(replace(RECEIPT, signature="")) == signed_text(RECEIPT)


@pytest.mark.parametrize("field", list(format_receipt(RECEIPT)))
@pytest.mark.parametrize("value", [None, True, -1, 2**63, 1.5, [], {}, "\x00", "\ud800"])
def test_a_malformed_field(field: str, value: Any) -> None:
    if field == "signature" and isinstance(value, str):
        return  # any text may stand where a signature should be; it is only wrong
    with pytest.raises(BadRequest):
        parse_receipt({**format_receipt(RECEIPT), field: value})
    with pytest.raises(BadRequest):
        parse_receipt({key: one for key, one in format_receipt(RECEIPT).items() if key != field})


@pytest.mark.parametrize("value", [None, [], "x", 1])
def test_what_is_no_object(value: Any) -> None:
    with pytest.raises(BadRequest):
        parse_receipt(value)


@pytest.mark.parametrize(
    "timestamp", ["2020-01-01 00:00:00 UTC", "2020-01-01 01:00:00.000000 +0100", "soon"]
)
def test_a_time_in_another_format_would_be_another_text(timestamp: str) -> None:
    with pytest.raises(BadRequest):
        parse_receipt({**format_receipt(RECEIPT), "timestamp": timestamp})

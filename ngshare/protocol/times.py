"""Format and parse times as clients read and write them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone

from ngshare.errors import BadRequest

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[ T]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]{1,6}))?"
    r"\s*(?:(UTC|Z)|([+-])([0-9]{2}):?([0-9]{2}))?"
)


def format_time(time: datetime) -> str:
    """Return a time in the format that clients compare: ``2020-01-01 00:00:00.000000 UTC``."""
    if time.tzinfo is not timezone.utc:
        time = time.astimezone(timezone.utc)
    return time.isoformat(" ", "microseconds")[:26] + " UTC"


def parse_time(text: str | None) -> datetime:
    """Return the time in UTC that a client sent.

    A time without a zone is in UTC: ngshare 0.6 sent such times, and caches in students' homes
    contain them. Raises BadRequest when ``text`` is None or no time.
    """
    if text is None:
        raise BadRequest("Please supply timestamp")
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise BadRequest("Time format incorrect")
    fraction, _, sign, hours, minutes = match.groups()[6:]
    try:
        year, month, day, hour, minute, second = (int(group) for group in match.groups()[:6])
        microsecond = int((fraction or "").ljust(6, "0"))
        time = datetime(year, month, day, hour, minute, second, microsecond, timezone.utc)
        if sign:
            offset = timedelta(hours=int(hours), minutes=int(minutes))
            time = time - offset if sign == "+" else time + offset
    except (ValueError, OverflowError):
        raise BadRequest("Time format incorrect") from None
    return time

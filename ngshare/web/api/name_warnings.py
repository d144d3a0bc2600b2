"""Warn of user names that were added to a course and may be those of no user."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from ngshare.actions.users import SuspiciousName
from ngshare.web.base import BaseHandler

log = logging.getLogger("ngshare")

LOGGED = 5
"""The most names in one line of the log."""


def warn_of_names(
    handler: BaseHandler, course: str, odd: Sequence[SuspiciousName]
) -> dict[str, Any]:
    """Log these names, which the request added; return the reply's field if it asked for it."""
    if odd:
        named = [f"{json.dumps(one.username)} {', '.join(one.warnings)}" for one in odd[:LOGGED]]
        if len(odd) > LOGGED:
            named.append(f"and {len(odd) - LOGGED} more")
        log.warning(
            "%s added to the course %s who may be no users of the Hub: %s",
            handler.caller.name,
            course,
            "; ".join(named),
        )
    if not handler.flag("warnings"):
        return {}
    return {
        "warnings": [{"username": one.username, "message": ", ".join(one.warnings)} for one in odd]
    }

"""Warn of names that were added to a course and may belong to no user of the Hub."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from typing import Any

from ngshare.actions.users import SuspiciousName
from ngshare.web.bodies.receive import ApiHandler

log = logging.getLogger("ngshare")

MAX_LOGGED = 5
"""The most names in one line of the log."""


def warn_of_names(
    handler: ApiHandler, course: str, names: Sequence[SuspiciousName]
) -> dict[str, Any]:
    """Log suspicious names that a request added, and return the reply's field ``warnings``.

    Return no field unless the request asked for it with ``warnings=true``.
    """
    if names:
        listed = [
            f"{json.dumps(name.username)} {', '.join(name.warnings)}" for name in names[:MAX_LOGGED]
        ]
        if len(names) > MAX_LOGGED:
            listed.append(f"and {len(names) - MAX_LOGGED} more")
        log.warning(
            "%s added to the course %s who may be no users of the Hub: %s",
            handler.caller.name,
            course,
            "; ".join(listed),
        )
    if not handler.flag("warnings"):
        return {}
    return {
        "warnings": [
            {"username": name.username, "message": ", ".join(name.warnings)} for name in names
        ]
    }

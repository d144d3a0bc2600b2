"""Add fields to a line of the log, for its JSON format."""

from __future__ import annotations

from typing import Any


def fields(**values: Any) -> dict[str, Any]:
    """Return the argument ``extra`` of a log call that adds these fields to the line's JSON."""
    return {"fields": values}

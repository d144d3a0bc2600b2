"""Fields of a log line besides its message, for the JSON format of the log."""

from __future__ import annotations

from typing import Any


def fields(**values: Any) -> dict[str, Any]:
    """The ``extra`` of a log call: what the JSON object of that line holds besides."""
    return {"fields": values}

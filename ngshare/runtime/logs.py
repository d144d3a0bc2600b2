"""What a line of the log looks like: JupyterHub's format, or one JSON object for machines.

Either way nothing that a request says can end a line, or look like the start of
another: names and paths come from whoever sends them.
"""

from __future__ import annotations

import json
import logging
import re
from copy import copy
from datetime import datetime, timezone
from types import TracebackType
from typing import TypeAlias

from tornado.log import LogFormatter

ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)

_FORGING = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""What ends a line, moves a terminal's cursor, or turns the direction of writing."""

_FORGING_BUT_LINES = re.compile(_FORGING.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))


def escape(text: str) -> str:
    """The text on one line, with what could forge another written as ``\\x1b`` or ``\\u202e``."""
    return _FORGING.sub(_written_out, text)


class PlainFormatter(LogFormatter):
    """JupyterHub's format, with colours on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if _FORGING.search(message):
            record = copy(record)  # other handlers get it too
            record.msg, record.args = escape(message), ()
        return super().format(record)

    def formatException(self, ei: ExcInfo) -> str:
        # Its lines stay lines: the base class indents them all.
        return _FORGING_BUT_LINES.sub(_written_out, super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """One JSON object for each line, in ASCII: ``time``, ``level``, ``logger``, ``message``, more.

    ``exception`` is the traceback. The rest are the ``fields`` in the ``extra`` of the call.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, timezone.utc).isoformat(
                timespec="milliseconds"
            ),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up(log: logging.Logger, level: int, as_json: bool) -> None:
    """Have ngshare's log, and those of the libraries, written by the handlers of this one."""
    log.setLevel(level)
    if as_json:
        for handler in log.handlers:
            handler.setFormatter(JsonFormatter())
    for name in ("ngshare", "tornado", "alembic", "jupyterhub", "asyncio"):
        logger = logging.getLogger(name)
        if logger is not log:
            logger.handlers = list(log.handlers)
            logger.propagate = False
        logger.setLevel(level)
    # Every statement of a migration is too much even for debugging.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # JupyterHub's client logs session ids and whole user models below this level.
    logging.getLogger("tornado.application").setLevel(logging.WARNING)


def _written_out(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

"""Configure logging, in JupyterHub's format or as JSON lines.

Control characters are escaped, because messages contain names and paths from requests, which
could forge lines.
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
"""Characters that end a line, control a terminal, or change the direction of text."""

_FORGING_BUT_LINES = re.compile(_FORGING.pattern.replace(r"\x00-\x1f", r"\x00-\x08\x0b-\x1f"))


def escape(text: str) -> str:
    """Return a text with forging characters, line breaks included, as ``\\x1b`` or ``\\u202e``."""
    return _FORGING.sub(_escape_match, text)


class PlainFormatter(LogFormatter):
    """JupyterHub's format, with colours on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        message = record.getMessage()
        if _FORGING.search(message):
            record = copy(record)  # other handlers get the original
            record.msg, record.args = escape(message), ()
        return super().format(record)

    def formatException(self, ei: ExcInfo) -> str:
        # Keeps line breaks: the base class indents every line.
        return _FORGING_BUT_LINES.sub(_escape_match, super().formatException(ei))


class JsonFormatter(logging.Formatter):
    """Formats a record as a JSON object on one line, in ASCII.

    Its fields are ``time``, ``level``, ``logger`` and ``message``, those of the record's attribute
    ``fields`` (given by ``extra=`` of the logging call), and ``exception``, the traceback.
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


def configure_logging(log: logging.Logger, level: int, as_json: bool) -> None:
    """Send the log of ngshare and of its libraries to the handlers of ``log``.

    level: the least severe level that is logged.
    as_json: write JSON lines.
    """
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
    # Alembic's log of a migration is too verbose even for debugging.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    # JupyterHub's client logs session ids and whole user models below this level.
    logging.getLogger("tornado.application").setLevel(logging.WARNING)


def _escape_match(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"

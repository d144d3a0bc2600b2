"""What operators and their machines ask for: health, and the debugging page."""

from __future__ import annotations

import html
import logging
from collections.abc import Sequence
from typing import Any

from ngshare.actions import maintenance
from ngshare.errors import BadRequest, Forbidden
from ngshare.web.base import BaseHandler, Who, allow

log = logging.getLogger("ngshare")


class Health(BaseHandler):
    """Says that the process runs. It asks nobody, so it answers when nothing else does."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        self.reply()


class Debugging(BaseHandler):
    """Dumps the records; in debug mode also clears them or loads the sample data."""

    @allow(Who.DEBUG)
    async def get(self) -> None:
        action = self.field("action")
        if action == "dump":
            await self._dump()
            return
        if not self.service.debug:
            raise Forbidden("Debug mode is off")
        if self.request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
            # A link or a picture elsewhere is enough to make a browser send a GET.
            raise Forbidden("Pages of other sites may not use this service")
        if action not in ("clear", "init"):
            raise BadRequest("action should be clear, init, or dump")
        mode = {"debug": self.service.debug, "hub": self.service.behind_hub}
        maintenance.check_replace(self.caller, **mode)  # before any file is stored
        if action == "clear":
            await self.service.write(maintenance.clear, self.caller, **mode)
        else:
            files = await self.service.on_files(maintenance.store_sample_files, self.service.blobs)
            await self.service.write(maintenance.load_sample, self.caller, files, **mode)
        log.warning("%s deleted every record (action=%s, debug mode)", self.caller.name, action)
        self.service.forget_seen()
        self.reply(message="done")

    async def _dump(self) -> None:
        maintenance.check_dump(self.caller, debug=self.service.debug)
        tables = await self.service.read(maintenance.dump)
        if not self.flag("human-readable"):
            self.reply(**tables)
            return
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.set_header(
            "Content-Security-Policy",
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        )
        self.finish(
            "<!DOCTYPE html><title>ngshare: all records</title>"
            "<style>body{font-family:sans-serif} td,th{border:1px solid #999;padding:.2em .5em}"
            "table{border-collapse:collapse}</style><h1>All records</h1>"
            + "".join(_table(name, rows) for name, rows in tables.items())
        )


def _table(name: str, rows: Sequence[dict[str, Any]]) -> str:
    heads = "".join(f"<th>{html.escape(str(key))}</th>" for key in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(value))}</td>" for value in row.values()) + "</tr>"
        for row in rows
    )
    return f"<h2>{html.escape(name)}</h2><table><tr>{heads}</tr>{body}</table>"


routes = [
    (r"healthz", Health),
    (r"initialize-Data6ase", Debugging),
]

"""What operators and their machines ask for: health, readiness, metrics, the debugging page."""

from __future__ import annotations

import asyncio
import html
import logging
from collections.abc import Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ngshare.actions import maintenance
from ngshare.errors import BadRequest, Forbidden
from ngshare.web.base import BaseHandler, Who, allow

log = logging.getLogger("ngshare")


class Health(BaseHandler):
    """Says that the process runs. It asks nobody, so it answers when nothing else does."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        self.reply()


class Ready(BaseHandler):
    """Says whether database and storage answer, and which of them does not."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        ill = await self.service.readiness.ill()
        if ill:
            self.fail(503, f"Not ready: {' and '.join(ill)}")
        else:
            self.reply()


class Metrics(BaseHandler):
    """What Prometheus collects."""

    @allow(Who.METRICS)
    async def get(self) -> None:
        service = self.service
        if not (service.open_metrics or await service.identity.may_read_metrics(self)):
            await self.know_caller()
            if not self.caller.admin:
                raise Forbidden("Metrics are for admins, and tokens with the scope read:metrics")
        page = await asyncio.to_thread(service.metrics.page)
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(page)


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
    (r"readyz", Ready),
    (r"metrics", Metrics),
    (r"initialize-Data6ase", Debugging),
]

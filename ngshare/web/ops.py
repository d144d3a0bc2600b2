"""What operators and their machines ask for: health, readiness, metrics, the debugging page."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ngshare.actions import maintenance
from ngshare.errors import BadRequest, Forbidden
from ngshare.web.base import BaseHandler
from ngshare.web.lists import PIECE
from ngshare.web.pages import PageHandler
from ngshare.web.who import Who, allow

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


class Debugging(PageHandler):
    """Dumps the records; in debug mode also clears them or loads the sample data."""

    @allow(Who.DEBUG)
    async def get(self) -> None:
        action = self.field("action")
        if action == "dump":
            await self._dump()
            return
        if not self.service.debug:
            raise Forbidden("Debug mode is off")
        self._refuse_other_sites()
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

    def _refuse_other_sites(self) -> None:
        """Refuse what another site may have made a browser send: for a GET a link is enough.

        Browsers tell a Hub without HTTPS less: there a login counts only with the address of
        the page that it comes from. A token in a header is nothing that a browser adds.
        """
        headers = self.request.headers
        site = headers.get("Sec-Fetch-Site")
        pages = [headers[name] for name in ("Origin", "Referer") if name in headers]
        own = (page.partition("://")[2].partition("/")[0] == headers.get("Host") for page in pages)
        if site not in (None, "none", "same-origin") or not all(own):
            raise Forbidden("Pages of other sites may not use this service")
        by_cookie = self.service.behind_hub and not getattr(self, "_token_authenticated", False)
        if by_cookie and site is None and not pages:
            raise Forbidden(
                "Your browser does not say whether another site sent you here; "
                "send a token of JupyterHub in the header 'Authorization: token ...' instead"
            )

    async def _dump(self) -> None:
        maintenance.check_dump(self.caller, debug=self.service.debug)
        async with self.service.replies.of(self.caller.name):
            tables = await self.service.read(maintenance.dump)
            # Every record of a site: too much to be made into a reply on the event loop.
            if not self.flag("human-readable"):
                await self.reply_large(await self.service.on_files(_encode, tables))
                return
            page = await self.service.on_files(self.render_string, "records.html", tables=tables)
            await self.reply_large(page, "text/html; charset=UTF-8")


def _encode(tables: Mapping[str, Sequence[Any]]) -> bytes:
    """The reply as JSON, made piece by piece, so that the event loop has its turns meanwhile."""
    fields = [b'"success": true']
    for name, rows in tables.items():
        pieces = (
            json.dumps(rows[start : start + PIECE])[1:-1].encode()
            for start in range(0, len(rows), PIECE)
        )
        fields.append(b"%s: [%s]" % (json.dumps(name).encode(), b", ".join(pieces)))
    return b"{%s}" % b", ".join(fields)


routes = [
    (r"healthz", Health),
    (r"readyz", Ready),
    (r"metrics", Metrics),
    (r"initialize-Data6ase", Debugging),
]

"""The records of the whole site, for troubleshooting: dump, clear, replace by sample data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from ngshare.actions import debug_records
from ngshare.errors import BadRequest, Forbidden
from ngshare.web.api.lists import PIECE
from ngshare.web.pages.base import PageHandler
from ngshare.web.route_access import Who, allow

log = logging.getLogger("ngshare")


class DebugRecords(PageHandler):
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
        debug_records.authorize_replacement(self.caller, **mode)  # before any file is stored
        if action == "clear":
            await self.service.write(debug_records.clear_records, self.caller, **mode)
        else:
            files = await self.service.on_files(
                debug_records.store_sample_files, self.service.blobs
            )
            await self.service.write(debug_records.load_sample_data, self.caller, files, **mode)
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
        debug_records.authorize_dump(self.caller, debug=self.service.debug)
        async with self.service.replies.of(self.caller.name):
            tables = await self.service.read(debug_records.dump_records)
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


routes = [(r"initialize-Data6ase", DebugRecords)]

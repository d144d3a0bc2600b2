"""The records of the whole site, for troubleshooting: dump, clear, replace by sample data."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlencode

from ngshare.actions import debug_records
from ngshare.errors import BadRequest, Forbidden
from ngshare.web.api.lists import ENCODE_STEP
from ngshare.web.pages.base import PageHandler
from ngshare.web.route_access import Audience, allow

log = logging.getLogger("ngshare")


class DebugRecords(PageHandler):
    """Dump the records; in debug mode also clear them or load the sample data."""

    @allow(Audience.DEBUG)
    async def get(self) -> None:
        action = self.field("action")
        if action == "dump":
            await self._dump()
            return
        self._require_debug_mode()
        self._refuse_other_sites()
        if action not in ("clear", "init"):
            raise BadRequest("action should be clear, init, or dump")
        await self._replace(action)
        self.reply(message="done")

    @allow(Audience.DEBUG)
    async def post(self) -> None:
        self._require_debug_mode()
        action = self.field("action")
        if action not in ("clear", "init"):
            raise BadRequest("action should be clear or init")
        await self._replace(action)
        if self.wants_html:
            fields = {"action": "dump", "human-readable": "true"}
            if not self.service.behind_hub:
                fields["user"] = self.caller.name
            self.redirect(f"{self.request.path}?{urlencode(fields)}", status=303)
        else:
            self.reply(message="done")

    def _require_debug_mode(self) -> None:
        if not self.service.debug:
            raise Forbidden("Debug mode is off")

    async def _replace(self, action: str) -> None:
        """Delete every record; with ``init`` load sample data instead. Raises Forbidden."""
        mode = self._mode()
        debug_records.authorize_replacement(self.caller, **mode)  # before any file is stored
        if action == "clear":
            await self.service.write(debug_records.clear_records, self.caller, **mode)
        else:
            files = await self.service.in_file_thread(
                debug_records.store_sample_files, self.service.blobs
            )
            await self.service.write(debug_records.load_sample_data, self.caller, files, **mode)
        log.warning("%s deleted every record (action=%s, debug mode)", self.caller.name, action)
        self.service.forget_seen()

    def _mode(self) -> dict[str, bool]:
        return {"debug": self.service.debug, "hub": self.service.behind_hub}

    def _refuse_other_sites(self) -> None:
        """Raise Forbidden for a GET that a link on another site may have made a browser send.

        POST needs no such check: a login counts only with the form's hidden field ``_xsrf``, and
        without a Hub the header ``Origin``, which browsers add, is checked. To a Hub without HTTPS
        browsers do not send ``Sec-Fetch-Site``: there a login counts only with the address of the
        page that the request comes from. A token in a header is never added by a browser.
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
        async with self.service.reply_slots.of(self.caller.name):
            tables = await self.service.read(debug_records.dump_records)
            # Every record of a site: too many to be encoded on the event loop.
            if not self.flag("human-readable"):
                await self.reply_large(await self.service.in_file_thread(_encode, tables))
                return
            page = await self.service.in_file_thread(
                self.render_string,
                "records.html",
                tables=tables,
                user=self.caller.name,
                xsrf_field=self.xsrf_field(),
                may_replace=debug_records.may_replace(self.caller, **self._mode()),
            )
            await self.reply_large(page, "text/html; charset=UTF-8")


def _encode(tables: Mapping[str, Sequence[Any]]) -> bytes:
    """Return the reply as JSON, encoded in pieces so that the event loop can run in between."""
    fields = [b'"success": true']
    for name, rows in tables.items():
        pieces = (
            json.dumps(rows[start : start + ENCODE_STEP])[1:-1].encode()
            for start in range(0, len(rows), ENCODE_STEP)
        )
        fields.append(b"%s: [%s]" % (json.dumps(name).encode(), b", ".join(pieces)))
    return b"{%s}" % b", ".join(fields)


routes = [(r"initialize-Data6ase", DebugRecords)]

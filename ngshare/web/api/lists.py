"""Reply with lists, page by page if the request has ``limit`` or ``after``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ngshare.actions.paging import UNPAGED, PageRequest
from ngshare.errors import BadRequest
from ngshare.protocol.names import check_name, is_storable_text
from ngshare.web.bodies.receive import ApiHandler

T = TypeVar("T")

MAX_PAGE_SIZE = 10_000
"""The most entries of one page."""

ENCODE_STEP = 500
"""The most entries that are encoded at once; nothing else runs in this process meanwhile."""


class ListHandler(ApiHandler):
    """Reply with a list."""

    async def reply_list(
        self,
        name: str,
        action: Callable[..., list[T]],
        *args: Any,
        format_entry: Callable[[T], Any],
        key: Callable[[T], str],
        parse_key: Callable[[str], Any] = str,
        **kwargs: Any,
    ) -> None:
        """Reply with the entries that the action lists, in the field ``name`` of the reply.

        format_entry: converts an entry to JSON values.
        key: returns the key of an entry, as text. If the request asked for a page, the reply's
            field ``next`` has the key of the last entry, to be sent as ``after`` for the next page;
            it is null on the last page.
        parse_key: converts the text of ``after`` to the key that the action takes, or raises
            ValueError.
        """
        page = self._page_request(parse_key)
        async with self.service.reply_slots.of(self.caller.name):
            if page.limit is None:
                entries, more = await self.run_read(action, *args, **kwargs), {}
            else:
                # One entry more than the page has tells whether another page follows.
                with_next = PageRequest(page.limit + 1, page.after)
                entries = await self.run_read(action, *args, page=with_next, **kwargs)
                followed = len(entries) > page.limit
                entries = entries[: page.limit]
                more = {"next": key(entries[-1]) if followed else None}
            await self.reply_entries(name, entries, format_entry, more)

    async def reply_entries(
        self,
        name: str,
        entries: Sequence[T],
        format_entry: Callable[[T], Any],
        more: Mapping[str, Any],
    ) -> None:
        """Reply with entries in the field ``name``, and with the fields ``more``.

        Call it within ``Service.reply_slots``.
        """
        if len(entries) <= ENCODE_STEP:
            encoded = encode_list(name, entries, format_entry, more)
        else:
            encoded = await self.service.in_file_thread(
                encode_list, name, entries, format_entry, more
            )
        del entries
        await self.reply_large(encoded)

    def name_field(self, name: str) -> str | None:
        """Return a field that is the name of a course, assignment or user; None if it is empty.

        Raises BadRequest for an illegal name.
        """
        value = self.short_value(name)
        if value is None or value == "":
            return None
        if not isinstance(value, str):
            raise BadRequest(f"The field {name} must be a text")
        return check_name(value)

    def number(self, name: str) -> int | None:
        """Return a field that is a positive integer; None if it is absent. Raises BadRequest."""
        value = self.value(name)
        text = str(value) if isinstance(value, int) else self.field(name)
        if not text:
            return None
        if not (text.isascii() and text.isdecimal() and len(text) < 20 and 0 < int(text) < 2**63):
            raise BadRequest(f"{name} should be a whole number, above 0")
        return int(text)

    def _page_request(self, parse_key: Callable[[str], Any]) -> PageRequest[Any]:
        """Return the page that the request asks for. Raises BadRequest."""
        limit, after = self.number("limit"), self.short_value("after")
        if limit is None and not after:
            return UNPAGED
        key = None
        if after:
            try:
                if not isinstance(after, str) or not is_storable_text(after):
                    raise ValueError("no text")
                key = parse_key(after)
            except ValueError:
                raise BadRequest("after should be what the part before said in next") from None
        return PageRequest(min(limit or MAX_PAGE_SIZE, MAX_PAGE_SIZE), key)


def encode_list(
    name: str,
    entries: Sequence[T],
    format_entry: Callable[[T], Any],
    more: Mapping[str, Any],
    step: int | None = None,
) -> bytes:
    """Return the reply as JSON, encoded in pieces so that the event loop can run in between.

    step: the number of entries in a piece, by default :data:`ENCODE_STEP`.
    """
    pieces = []
    step = step or ENCODE_STEP
    for start in range(0, len(entries), step):
        formatted = [format_entry(entry) for entry in entries[start : start + step]]
        pieces.append(json.dumps(formatted)[1:-1].encode())
    head = json.dumps({"success": True, **more, name: []}).encode()
    return b"%s%s]}" % (head.removesuffix(b"]}"), b", ".join(pieces))

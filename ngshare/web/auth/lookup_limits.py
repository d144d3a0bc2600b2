"""Limit the lookups of unknown tokens, so that they cannot occupy the Hub.

The Hub answers lookups one after the other, and also serves everybody who logs in or starts a
server. A client without an account can send any number of made-up tokens.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
from collections.abc import AsyncIterator

from ngshare.errors import TooManyRequests, Unavailable
from ngshare.web.rate_limit import RateLimit

UNKNOWN_AT_ONCE = 6
KNOWN_AT_ONCE = 4
"""The most lookups that one process sends to the Hub at once: of tokens that the Hub never
confirmed, and of tokens that it has confirmed before.

Together ten, because JupyterHub 5's HTTP client keeps further requests in one queue of its own,
where those of known tokens would wait behind the others. More would not be faster: see above."""

MAX_WAITING = 1000
"""The most lookups of unknown tokens that may wait."""

REJECTED_PER_MINUTE = 120
"""The most tokens rejected by the Hub that one address may send at once, and again in each minute.

Valid tokens do not count, so a class that logs in from one address is not limited. The limit is
more than a class needs whose servers all have expired tokens. The Hub spends about a second on so
many lookups."""


class LookupLimits:
    """Bounds on concurrent lookups, and on rejected tokens from each address."""

    def __init__(self, rejected_per_minute: int = REJECTED_PER_MINUTE) -> None:
        self._known = asyncio.Semaphore(KNOWN_AT_ONCE)
        self._unknown = asyncio.Semaphore(UNKNOWN_AT_ONCE)
        self._waiting = 0
        self._rejected = RateLimit(rejected_per_minute)

    @contextlib.asynccontextmanager
    async def slot(self, address: str, *, known: bool) -> AsyncIterator[None]:
        """Wait until a lookup may be sent to the Hub, and count it as in progress meanwhile.

        ``known``: the Hub confirmed this token before; no flood of unknown ones delays it.
        Raises TooManyRequests when this address sent too many rejected tokens, Unavailable when
        too many unknown tokens wait already.
        """
        if known:
            async with self._known:
                yield
            return
        self._check_address(address)
        if self._waiting >= MAX_WAITING:
            raise Unavailable("Too many people are logging in at once; please try again")
        self._waiting += 1
        try:
            await self._unknown.acquire()
        finally:
            self._waiting -= 1
        try:
            # Of many that came from one address before the first was rejected, none is sent now.
            self._check_address(address)
            yield
        finally:
            self._unknown.release()

    def count_rejected(self, address: str) -> None:
        """Count a token or login code from this address that the Hub rejected."""
        if address:
            with contextlib.suppress(TooManyRequests):
                self._rejected.count(_network(address))

    def _check_address(self, address: str) -> None:
        if not address:
            return
        try:
            self._rejected.check(_network(address))
        except TooManyRequests as error:
            raise TooManyRequests(
                "JupyterHub rejected too many tokens and logins from this address; please wait",
                retry_after=error.retry_after,
            ) from None


def _network(address: str) -> str:
    """Return the range from which a client can choose its address: a /64 network for IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if parsed.version == 4:
        return address
    return str(ipaddress.ip_network((parsed.packed[:8] + bytes(8), 64)))

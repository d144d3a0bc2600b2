"""Keep the state of a browser's login in the OAuth parameter ``state``, encrypted.

JupyterHub's client keeps it in the memory of one process; this way any worker process or replica
can finish a login that another began, and a restart in between does no harm.
"""

from __future__ import annotations

import base64
import hmac
import json
from typing import Any

from cryptography.fernet import Fernet, InvalidToken
from jupyterhub.services.auth import HubOAuth
from tornado.web import RequestHandler

UNFINISHED_LOGINS = 5
"""The most unfinished logins of one browser."""

NEXT_URL_LENGTH = 1000
"""The longest URL, in characters, to which a login returns; instead of a longer one, the start
page, because no browser keeps a cookie that holds it."""


def derive_secret(api_token: str, purpose: str) -> bytes:
    """Return a secret (32 bytes) for one purpose, the same in every process of this service."""
    return hmac.digest(api_token.encode(), f"ngshare {purpose}".encode(), "sha256")


class StatelessLogin(HubOAuth):  # type: ignore[misc]  # jupyterhub has no types
    """JupyterHub's OAuth client without login state in memory."""

    def set_state_cookie(
        self, handler: RequestHandler, next_url: str | None = None, **more: Any
    ) -> str:
        """Begin a login: return its state, and set it as a cookie of this browser.

        The cookies of unfinished logins are deleted when there are several: some thirty are more
        than the Hub's proxy accepts in a request.
        """
        unfinished = [name for name in handler.cookies if name.startswith(self.state_cookie_name)]
        if len(unfinished) >= UNFINISHED_LOGINS:
            self.clear_oauth_state_cookies(handler)
        if next_url is not None and len(next_url) > NEXT_URL_LENGTH:
            next_url = None
        state: str = super().set_state_cookie(handler, next_url, **more)
        return state

    def generate_state(self, next_url: str | None = None, **extra_state: Any) -> str:
        """Return the state of a login, encrypted."""
        state = json.dumps({"next_url": next_url, **extra_state})
        return self._cipher.encrypt(state.encode()).decode()

    def _decode_state(self, state_id: str, /) -> dict[str, Any]:
        """Decrypt the state of a login; return {} when it is forged or too old."""
        try:
            opened = self._cipher.decrypt(state_id.encode(), ttl=self.oauth_state_max_age)
        except (InvalidToken, UnicodeEncodeError):
            return {}
        state: dict[str, Any] = json.loads(opened)
        return state

    @property
    def _cipher(self) -> Fernet:
        return Fernet(base64.urlsafe_b64encode(derive_secret(self.api_token, "oauth state")))

"""The base of pages: forms, headers, errors as HTML, the redirect to the login."""

from __future__ import annotations

from typing import Any

from tornado.web import HTTPError

from ngshare import __version__
from ngshare.errors import ExchangeError, Forbidden, TooLarge, Unauthenticated
from ngshare.web.base import BaseHandler
from ngshare.web.bodies.receive import ApiHandler

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

FORM_SIZE = 32 * 1024
"""The largest form of a page, in bytes: half of what the headers of a request may have.

Tornado stores it in memory before the sender is identified, and parses it on the event loop."""

FORM_SECONDS = 60.0
"""The seconds that a form may take to arrive, while its sender is not known yet."""


class PageHandler(BaseHandler):
    """The base of a page: ``get`` renders it, ``post`` handles its HTML form.

    Tornado reads the body (at most :data:`FORM_SIZE` bytes) before the handler is created, and the
    caller is identified after it: JupyterHub accepts a browser's login for a POST only with the
    form's hidden field ``_xsrf`` (:meth:`xsrf_field`). Errors are HTML for browsers, else JSON.
    """

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        self.set_header("Referrer-Policy", "same-origin")

    async def identify(self) -> str:
        """Return the caller's name. Raises Forbidden for a form without a valid ``_xsrf`` field."""
        try:
            return await super().identify()
        except Unauthenticated:
            if self._has_login_cookie() and not self._has_xsrf_token():
                raise Forbidden(
                    "This form is not from a page of this service, or you logged in again since; "
                    "please go back, load the page again and repeat it"
                ) from None
            raise

    @property
    def wants_html(self) -> bool:
        return self.accepts_html

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        if (
            isinstance(error, Unauthenticated)
            and self.request.method == "GET"
            and self.wants_html
            and not self.service.identity.login_by_redirect
        ):
            self.set_status(200)
            self.render("who.html")
        else:
            super().write_error(status_code, **kwargs)

    def explain(self, status: int, error: BaseException | None) -> str:
        if status == 404 and self.wants_html and not isinstance(error, ExchangeError):
            return "There is nothing at this address."
        return super().explain(status, error)

    def format_error(self, status: int, message: str) -> tuple[str, bytes]:
        if not self.wants_html:
            return super().format_error(status, message)
        page = self.render_string("error.html", status=status, message=message)
        return "text/html; charset=UTF-8", page

    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "home": self.settings["prefix"],
            "hub": self.hub,
            "version": __version__,
        }

    @property
    def hub(self) -> str | None:
        """Return the URL under which the Hub's own pages are; None without a Hub."""
        if not self.service.behind_hub:
            return None
        return f"{self.hub_auth.hub_host}{self.hub_auth.hub_prefix}"

    def xsrf_field(self) -> bytes:
        """Return the hidden field ``_xsrf`` of a form; nothing without a Hub, which has no logins.

        Call it on the event loop: it may set the cookie that belongs to the field.
        """
        return self.xsrf_form_html().encode() if self.service.behind_hub else b""

    def _has_login_cookie(self) -> bool:
        """Return whether the request relies on a browser's login, not on a token in a header."""
        if not self.service.behind_hub or self.hub_auth.get_token(self, in_cookie=False):
            return False
        return bool(self.hub_auth.get_token(self))

    def _has_xsrf_token(self) -> bool:
        """Return whether JupyterHub's XSRF check accepts the request or does not apply to it."""
        try:
            self.check_xsrf_cookie()
        except HTTPError:
            return False
        return True


class TooLargeForm(PageHandler, ApiHandler):
    """Refuse a form that is too large, without receiving it.

    ``WebApplication`` puts it in the place of the page's handler.
    """

    async def prepare(self) -> None:
        await self._refuse(
            TooLarge(
                f"The form is larger than {FORM_SIZE // 1024} KiB, the most that a page accepts"
            )
        )

"""The base of all pages: their headers, their errors, the redirect to the login."""

from __future__ import annotations

from typing import Any

from ngshare import __version__
from ngshare.errors import ExchangeError, Unauthenticated
from ngshare.web.base import BaseHandler

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)


class PageHandler(BaseHandler):
    """A page. Whoever is nobody yet is sent to log in; errors are pages too, for browsers."""

    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", POLICY)
        self.set_header("Referrer-Policy", "same-origin")

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        error = (kwargs.get("exc_info") or (None, None))[1]
        nobody = isinstance(error, Unauthenticated)
        if not self.wants_html or (nobody and self.service.identity.login_by_redirect):
            super().write_error(status_code, **kwargs)
        elif nobody:
            self.set_status(200)
            self.render("who.html")
        else:
            message = self.explain(status_code, error)
            if status_code == 404 and not isinstance(error, ExchangeError):
                message = "There is nothing at this address."
            self.render("error.html", status=status_code, message=message)

    def get_template_namespace(self) -> dict[str, Any]:
        return {
            **super().get_template_namespace(),
            "home": self.settings["prefix"],
            "hub": self.hub,
            "version": __version__,
        }

    @property
    def hub(self) -> str | None:
        """Where the Hub's own pages begin; None when there is no Hub."""
        if not self.service.behind_hub:
            return None
        return f"{self.hub_auth.hub_host}{self.hub_auth.hub_prefix}"

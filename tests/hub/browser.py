"""What a browser does, as far as the Hub and the service can tell."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests

from tests.hub.running import RunningHub


class Browser:
    """Keeps cookies, follows redirects, and says that it wants pages."""

    def __init__(self, hub: RunningHub) -> None:
        self.hub = hub
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers.update(
            {
                "Accept": "text/html,application/xhtml+xml,*/*;q=0.8",
                "User-Agent": "Mozilla/5.0 (a test)",
                "Sec-Fetch-Mode": "navigate",
                "Sec-Fetch-Site": "same-origin",
            }
        )

    def __enter__(self) -> Browser:
        return self

    def __exit__(self, *_: object) -> None:
        self.session.close()

    def visit(self, url: str, **options: Any) -> requests.Response:
        """The page at a URL, or where that leads to."""
        options.setdefault("timeout", 30)
        return self.session.get(url, **options)

    def log_in(self, name: str, password: str = "any password will do") -> requests.Response:
        """Log in at the Hub. Returns the page after that."""
        form = self.visit(self.hub.url + "hub/login")
        return self._log_in(form, name, password)

    def visit_and_log_in(self, url: str, name: str) -> requests.Response:
        """Visit a page, log in at the Hub, which asks for that, and be sent back."""
        form = self.visit(url)
        assert urlsplit(form.url).path == urlsplit(self.hub.url).path + "hub/login", form.url
        return self._log_in(form, name, "any password will do")

    def go_until(self, url: str, path: str) -> str:
        """Follow redirects up to one to this path, which is not followed: its URL."""
        for _ in range(10):
            reply = self.visit(url, allow_redirects=False)
            assert reply.is_redirect, (url, reply.status_code)
            url = requests.compat.urljoin(url, reply.headers["Location"])
            if urlsplit(url).path == path:
                return url
        raise AssertionError(f"never came to {path}")

    def _log_in(self, form: requests.Response, name: str, password: str) -> requests.Response:
        (action,) = re.findall(r'<form action="([^"]*)"', form.text)
        (xsrf,) = re.findall(r'name="_xsrf" value="([^"]*)"', form.text)
        return self.session.post(
            requests.compat.urljoin(form.url, action.replace("&amp;", "&")),
            data={"username": name, "password": password, "_xsrf": xsrf},
            timeout=30,
        )


def query_of(url: str) -> dict[str, str]:
    """The parameters of a URL."""
    return {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}

"""The plugin for nbgrader, and the commands of users' servers.

This module is light: nbgrader and the HTTP client are imported when they are used.
"""

from __future__ import annotations

from typing import Any

_PLUGIN = "ngshare.exchange.plugin."

_CLASSES = {
    "exchange": "base.Exchange",
    "list": "listing.ExchangeList",
    "fetch_assignment": "fetch_assignment.ExchangeFetchAssignment",
    "fetch_feedback": "fetch_feedback.ExchangeFetchFeedback",
    "submit": "submit.ExchangeSubmit",
    "collect": "collect.ExchangeCollect",
    "release_assignment": "release_assignment.ExchangeReleaseAssignment",
    "release_feedback": "release_feedback.ExchangeReleaseFeedback",
}


def configure_exchange(c: Any, url: str | None = None) -> None:
    """Let nbgrader exchange assignments with ngshare. Call it in ``nbgrader_config.py``.

    c: the configuration object, ``get_config()``.
    url: the service's address, such as ``http://127.0.0.1:8000/services/ngshare``; by default
        ``$NGSHARE_URL``, else what the Hub tells a user's server.
    """
    if url:
        c.Exchange.url = url
    for name, plugin in _CLASSES.items():
        setattr(c.ExchangeFactory, name, _PLUGIN + plugin)
    c.Authenticator.plugin_class = _PLUGIN + "auth.NgshareAuthPlugin"

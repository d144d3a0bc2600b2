"""Explain to users why a request got no reply from the service: none, or one of a proxy or Hub."""

from __future__ import annotations

import requests
from urllib3.exceptions import NameResolutionError, NewConnectionError

LOGIN_AGAIN = "Restart your server on the Hub (File, Hub Control Panel), and try again"

NOT_ON_A_HUB = (
    "The exchange belongs to a Hub, and there is no token of it here (JUPYTERHUB_API_TOKEN): "
    "run this in your server on the Hub"
)


def explain_foreign_reply(url: str, status: int, location: str) -> str:
    """Return the sentence about a reply that is not the service's: of a proxy, or of the Hub.

    url: the service's address. location: the reply's header ``Location``.
    """
    if status == 413:
        return (
            "A proxy in front of the exchange refuses requests of this size; ask your "
            "administrator to raise its limit (nginx: client_max_body_size)"
        )
    if 300 <= status < 400:
        if "/hub/login" in location or "/oauth2/" in location:
            return f"The Hub asks for a login instead of passing the request on. {LOGIN_AGAIN}"
        if "/hub/" in location:
            return (
                f"The Hub has no exchange at {url}; ask your administrator for its address, and "
                "set NGSHARE_URL to it"
            )
        return f"The address {url} leads elsewhere, to {location}: set NGSHARE_URL to that address"
    if status == 401:
        return f"The Hub does not accept your server's token. {LOGIN_AGAIN}"
    if status == 403:
        return (
            "The Hub does not let your server use the exchange: ask your administrator to grant "
            "the scope access:services!service=ngshare (configure_hub does it)"
        )
    if status == 404:
        return f"There is no exchange at {url}; ask your administrator for its address"
    if status == 429:
        return "A proxy in front of the exchange takes no more requests now; try again in a minute"
    if status in (502, 503, 504):
        return "The exchange is not running, or too busy; try again in some minutes"
    return (
        f"Something that is not the exchange answered at {url} (status {status}); "
        "run ngshare doctor to find out more"
    )


def explain_no_reply(url: str, error: requests.RequestException) -> str:
    """Return the sentence about a request without a reply. ``url`` is the service's address."""
    reason = _reason(error)
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"The certificate of {url} is not trusted: set REQUESTS_CA_BUNDLE to a file with your "
            "authority's certificate, or ask your administrator to"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return (
            "The proxy that HTTP_PROXY or HTTPS_PROXY names does not answer: add the host of "
            f"{url} to NO_PROXY, or ask your administrator to"
        )
    if isinstance(error, requests.Timeout):
        return f"The exchange at {url} does not answer in time; try again in some minutes"
    if isinstance(reason, NameResolutionError):
        return f"The host of the exchange's address {url} is unknown; is the address right?"
    if isinstance(reason, NewConnectionError):
        return f"Nothing answers at {url}: the exchange is not running, or has another address"
    return f"The connection to the exchange at {url} broke; try again"


def was_not_sent(error: requests.RequestException) -> bool:
    """Return whether no connection was made, so that the service has not seen the request."""
    if isinstance(error, requests.ConnectTimeout):
        return True
    reason = _reason(error)
    return isinstance(reason, NewConnectionError) and not isinstance(reason, NameResolutionError)


def _reason(error: requests.RequestException) -> object:
    """Return urllib3's error behind one of requests; None if there is none."""
    return getattr(error.args[0], "reason", None) if error.args else None

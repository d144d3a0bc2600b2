"""Find the service's address and the user's credentials, in a user's server or without a Hub."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from ngshare.exchange.service_error import ServiceError

NO_ADDRESS = (
    "Cannot find the exchange: set NGSHARE_URL to its address, such as "
    "http://127.0.0.1:8000/services/ngshare, or name it in configure_exchange(c, url)"
)


@dataclass(frozen=True, slots=True)
class Address:
    """The address of the service, without a slash at its end, and who calls it.

    token: the API token that a Hub gave to the user's server; None without a Hub.
    user: the name that a stand-alone service takes as identity; a Hub's service ignores it.
    """

    url: str
    token: str | None = field(repr=False)
    user: str | None


def find_address(url: str | None = None, environ: Mapping[str, str] = os.environ) -> Address:
    """Return the service's address: ``url``, else ``$NGSHARE_URL``, else what the Hub tells.

    Raises ServiceError when nothing tells it, or the address is no ``http`` URL.
    """
    found = (url or environ.get("NGSHARE_URL") or "").strip()
    if not found:
        found = next(hub_addresses(environ), "")
    if not found:
        raise ServiceError(NO_ADDRESS)
    return Address(check_url(found), environ.get("JUPYTERHUB_API_TOKEN") or None, _user(environ))


def check_url(url: str) -> str:
    """Return an address without a slash at its end. Raises ServiceError if it is no URL."""
    try:
        split = urlsplit(url)
        valid = split.scheme in ("http", "https") and bool(split.hostname) and split.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise ServiceError(
            f"The exchange's address {url!r} is no URL; it looks like "
            "http://127.0.0.1:8000/services/ngshare"
        )
    return url.rstrip("/")


def hub_addresses(environ: Mapping[str, str], name: str = "ngshare") -> Iterator[str]:
    """Yield the addresses at which a Hub's proxy may serve the service, the likeliest first.

    name: the service's name at the Hub. Kubernetes tells every container the address of the
    service ``proxy-public``; elsewhere the Hub tells a user's server its public address, and the
    address of its API, which the proxy serves at its own port below the same base URL.
    """
    base = environ.get("JUPYTERHUB_BASE_URL") or "/"
    path = f"{base.rstrip('/')}/services/{name}"
    host = environ.get("PROXY_PUBLIC_SERVICE_HOST")
    if host:
        port = environ.get("PROXY_PUBLIC_SERVICE_PORT") or "80"
        scheme = "https" if port == "443" else "http"
        yield f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}{path}"
    public = environ.get("JUPYTERHUB_PUBLIC_HUB_URL")
    if public:
        split = urlsplit(public)
        yield f"{split.scheme}://{split.netloc}{path}"
    api = environ.get("JUPYTERHUB_API_URL")
    if api and not host:
        split = urlsplit(api)
        if split.hostname:
            # The proxy's default port, on the machine of the Hub.
            yield f"{split.scheme}://{split.hostname}:8000{path}"


def _user(environ: Mapping[str, str]) -> str | None:
    """Return the user's name at the Hub, or else the login name; None when there is none."""
    if environ.get("JUPYTERHUB_USER"):
        return environ["JUPYTERHUB_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None

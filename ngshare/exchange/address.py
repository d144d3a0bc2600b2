"""Find the service's address and the user's credentials, in a user's server or without a Hub."""

from __future__ import annotations

import getpass
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ngshare.exchange.service_error import ServiceError

NO_ADDRESS = (
    "Cannot find the exchange: set NGSHARE_URL to its address, such as "
    "http://127.0.0.1:8000/services/ngshare, or name it in configure_exchange(c, url)"
)

PROBE_SECONDS = 3.0
"""The timeout of the question whether a service answers at an address."""

LISTENING = "0A"
"""The state of a listening socket in /proc/net/tcp."""


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

    Of several addresses that a Hub's environment implies, it is the first at which a service
    answers. Raises ServiceError when nothing tells it, or the address is no ``http`` URL.
    """
    chosen = (url or environ.get("NGSHARE_URL") or "").strip()
    if not chosen:
        chosen = _choose(tuple(hub_addresses(environ)), environ.get("JUPYTERHUB_API_URL", ""))
    if not chosen:
        raise ServiceError(NO_ADDRESS)
    return Address(check_url(chosen), environ.get("JUPYTERHUB_API_TOKEN") or None, _user(environ))


_answered: dict[tuple[str, ...], str] = {}
"""The address that answered, for the addresses that were asked in this process."""


def _choose(addresses: tuple[str, ...], hub_api: str) -> str:
    """Return the first address at which a service answers; if none does, the first of all."""
    if addresses in _answered:
        return _answered[addresses]
    for address in addresses:
        # A port of this computer may belong to another user, who must not get the token.
        if has_other_owner(address, hub_api) or not answers(address):
            continue
        _answered[addresses] = address
        return address
    return next((each for each in addresses if not has_other_owner(each, hub_api)), "")


def answers(url: str) -> bool:
    """Return whether the service answers at an address. No token is sent, no redirect followed."""
    import requests

    try:
        reply = requests.get(f"{url}/healthz", timeout=PROBE_SECONDS, allow_redirects=False)
        value = reply.json()
    except (requests.RequestException, ValueError):
        return False
    return reply.status_code == 200 and isinstance(value, dict) and value.get("success") is True


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

    name: the service's name at the Hub.

    Zero to JupyterHub: Kubernetes tells every container the addresses of the services
    ``proxy-http`` (there if ``proxy-public`` only redirects to HTTPS) and ``proxy-public``; where
    it does not, their names differ from that of the Hub's API only in the last word. Elsewhere:
    the Hub's public address, if it is configured, and port 8000 of the Hub's computer.
    """
    base = environ.get("JUPYTERHUB_BASE_URL") or "/"
    path = f"{base.rstrip('/')}/services/{name}"
    api = _split(environ.get("JUPYTERHUB_API_URL", ""))
    hosts = []
    if host := environ.get("PROXY_HTTP_SERVICE_HOST"):
        hosts.append(f"{_bracket(host)}:{environ.get('PROXY_HTTP_SERVICE_PORT') or '8000'}")
    if host := environ.get("PROXY_PUBLIC_SERVICE_HOST"):
        ports = (environ.get(f"PROXY_PUBLIC_SERVICE_PORT{end}") for end in ("_HTTP", ""))
        hosts.append(f"{_bracket(host)}:{next(filter(None, ports), '80')}")
    word, dot, domain = (api.hostname or "").partition(".")
    if word == "hub" or word.endswith("-hub"):
        prefix = word.removesuffix("hub")
        hosts += [f"{prefix}proxy-http{dot}{domain}:8000", f"{prefix}proxy-public{dot}{domain}:80"]
    yield from (f"http://{host}{path}" for host in hosts)
    public = _split(environ.get("JUPYTERHUB_PUBLIC_HUB_URL", ""))
    if public.hostname:
        yield f"{public.scheme}://{public.netloc}{path}"
    if api.hostname:
        yield f"http://{_bracket(api.hostname)}:8000{path}"


def has_other_owner(url: str, hub_api: str) -> bool:
    """Return whether an address is a port of this computer that is not the Hub's.

    hub_api: the URL of the Hub's API, whose port has the owner that the other must have. Only
    Linux tells the owners; elsewhere, and of ports where nobody listens, nothing is known.
    """
    hub, proxy = _split(hub_api), _split(url)
    if not (_is_loopback(proxy.hostname) and _is_loopback(hub.hostname)):
        return False
    owners = _port_owners(proxy.port or 80)
    return bool(owners) and not owners <= _port_owners(hub.port or 80) | {0}


def _port_owners(port: int) -> set[int]:
    """Return the ids of the users who listen on a TCP port of this computer, as far as known."""
    owners = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            fields = line.split()
            if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                owners.add(int(fields[7]))
    return owners


def _is_loopback(host: str | None) -> bool:
    return host in ("localhost", "::1") or (host or "").startswith("127.")


def _split(url: str) -> SplitResult:
    """Return the components of a URL; of one that is none, empty ones."""
    try:
        split = urlsplit(url)
        _ = split.hostname, split.port
    except ValueError:
        return urlsplit("")
    return split


def _bracket(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _user(environ: Mapping[str, str]) -> str | None:
    """Return the user's name at the Hub, or else the login name; None when there is none."""
    if environ.get("JUPYTERHUB_USER"):
        return environ["JUPYTERHUB_USER"]
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None

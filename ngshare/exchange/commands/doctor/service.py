"""Checks of the way to the service: address, proxy, token, scope, version; and of the courses.

The requests are sent without the plugin's retries and without following redirections, to see the
first fault as it is.
"""

from __future__ import annotations

import os
from collections.abc import Generator, Iterator
from typing import Any
from urllib.parse import urlsplit

import requests

from ngshare import __version__
from ngshare.exchange.address import Address
from ngshare.exchange.commands.base import Session
from ngshare.exchange.commands.doctor.findings import Finding, note, ok, wrong
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig
from ngshare.exchange.connection import ServiceError
from ngshare.protocol.manifests import PART_SIZE
from ngshare.protocol.overview import Overview

TIMEOUT = 20
"""Seconds to wait for a reply."""


def check_service(session: Session) -> Generator[Finding, None, Overview | None]:
    """Yield the findings about the service; return its answer about the caller, if it gave one."""
    try:
        address = session.address
    except ServiceError as error:
        yield wrong("address", str(error))
        return None
    yield ok("address", address.url)
    fault = _find_proxy_fault(address)
    if fault is not None:
        yield wrong("proxy", fault)
        return None
    yield ok("proxy", "ngshare answers, and the largest request passes")
    refusal = _find_identity_fault(address)
    if refusal is not None:
        yield refusal
        return None
    try:
        overview = session.client.overview()
    except ServiceError as error:
        yield wrong("service", str(error))
        return None
    yield ok("token", f"ngshare knows you as {overview.user}")
    yield _check_version(overview)
    return overview


def check_course_choice(settings: NbgraderConfig, overview: Overview) -> Iterator[Finding]:
    """Yield the findings about the caller's courses, and the one that is configured."""
    roles = {course.name: course.role or "admin" for course in overview.courses}
    if not roles:
        yield note(
            "courses",
            f"you are in none under the name {overview.user}, to the letter: an instructor adds "
            "you by that name"
            + ("; as an admin, create one: ngshare course create NAME" if overview.admin else ""),
        )
    else:
        yield ok("courses", ", ".join(f"{name} ({role})" for name, role in sorted(roles.items())))
    configured = settings.get("CourseDirectory", "course_id")
    if configured and configured != "*" and configured not in roles and not overview.admin:
        yield wrong(
            "course_id",
            f"c.CourseDirectory.course_id is {configured!r}, and you are in no course of that "
            "name: correct it, or remove the line, since the plugin asks ngshare for your courses",
        )


def _find_proxy_fault(address: Address) -> str | None:
    """Return what keeps requests from reaching ngshare, and what to do; None when nothing does."""
    url = f"{address.url.rstrip('/')}/healthz"
    try:
        reply = _request("GET", url, address)
        large = _request("POST", url, address, data=bytes(PART_SIZE))
    except requests.exceptions.SSLError as error:
        return _explain_certificate(url, error)
    except requests.ConnectionError:
        if proxy := _proxy_of_environment(url):
            return _explain_environment(url, proxy)
        return (
            f"nobody listens at {urlsplit(url).netloc}: is the address right, and does the Hub's "
            "proxy run there? Set $NGSHARE_URL, or url= in configure_exchange"
        )
    except requests.Timeout:
        return f"{urlsplit(url).netloc} does not answer within {TIMEOUT} s: ask your administrator"
    except requests.RequestException as error:
        return f"{address.url} is no address that can be used ({error}): correct it"
    if reply.is_redirect or reply.is_permanent_redirect:
        return _explain_redirect(url, reply.headers.get("Location", ""))
    if reply.status_code in (502, 503, 504):
        return (
            "the proxy answers and ngshare does not: it is down or restarting; tell your "
            f"administrator ({reply.status_code})"
        )
    if not _is_ngshare(reply):
        if proxy := _proxy_of_environment(url):
            return _explain_environment(url, proxy)
        return (
            f"what answers at {address.url} is not ngshare, but a page of the Hub or of another "
            f"program ({reply.status_code}): the Hub's base URL may be missing in the address "
            f"({os.environ.get('JUPYTERHUB_BASE_URL', '/')}services/ngshare), or the Hub has no "
            "service of that name"
        )
    if large.status_code == 413:
        return (
            f"a proxy in front refuses requests of {PART_SIZE:,} bytes (413): tell your "
            "administrator to raise its limit (nginx: client_max_body_size)"
        )
    return None


def _proxy_of_environment(url: str) -> str | None:
    """Return the proxy to which the environment sends requests; None without one."""
    proxies = requests.utils.get_environ_proxies(url)
    return proxies.get(urlsplit(url).scheme) or proxies.get("all")


def _explain_environment(url: str, proxy: str) -> str:
    host = urlsplit(proxy).hostname or proxy  # without a password
    return (
        f"requests go to the proxy {host} of $HTTP_PROXY or $HTTPS_PROXY, which does not lead to "
        f"ngshare: add {urlsplit(url).hostname} to $NO_PROXY in c.Spawner.environment of the Hub"
    )


def _find_identity_fault(address: Address) -> Finding | None:
    """Return what is wrong with the caller's token, and what to do; None when nothing is."""
    behind_hub = "JUPYTERHUB_API_URL" in os.environ
    if behind_hub and not address.token:
        return wrong(
            "token",
            "there is no $JUPYTERHUB_API_TOKEN, which the Hub sets in your server: run this in a "
            "terminal of that server",
        )
    params = {} if address.token else {"user": address.user}
    reply = _request("GET", f"{address.url.rstrip('/')}/courses", address, params=params)
    message = _message(reply)
    if reply.status_code == 401 and not address.token:
        return wrong(
            "token",
            "ngshare runs behind a Hub and wants its token: run this in a terminal of your server "
            "on the Hub",
        )
    if reply.status_code == 401:
        return wrong("token", message)
    if reply.status_code == 403:
        return wrong("scope" if "scope" in message else "token", message)
    if reply.status_code == 503:
        return wrong("token", f"ngshare answers: {message}; tell your administrator if it stays so")
    return None


def _check_version(overview: Overview) -> Finding:
    """Compare the version of the service with this one."""
    if overview.version is None:
        return note(
            "version",
            f"the service is older than 1.0, the plugin is {__version__}: everything works, slower",
        )
    if overview.version != __version__:
        return note("version", f"the service is {overview.version}, the plugin {__version__}")
    return ok("version", f"{__version__}, of service and plugin")


def _request(method: str, url: str, address: Address, **options: Any) -> requests.Response:
    headers = {"Authorization": f"token {address.token}"} if address.token else {}
    return requests.request(
        method,
        url,
        headers=headers,
        timeout=TIMEOUT,
        allow_redirects=False,
        **options,
    )


def _is_ngshare(reply: requests.Response) -> bool:
    try:
        return bool(reply.json() == {"success": True})
    except ValueError:
        return False


def _message(reply: requests.Response) -> str:
    """Return what the service says, or the status when it says nothing."""
    try:
        return str(reply.json()["message"])
    except (ValueError, KeyError, TypeError):
        return f"it answers with {reply.status_code} and no reason"


def _explain_redirect(url: str, location: str) -> str:
    """Return what to do about an address that only redirects."""
    if url.startswith("http://") and location.startswith("https://"):
        return (
            f"{urlsplit(url).netloc} redirects to HTTPS, so each request goes twice, and the first "
            "one carries your token unencrypted: write https:// in the address; on Kubernetes it "
            "is http://proxy-http:8000/services/ngshare"
        )
    return (
        f"{url} redirects to {location or 'another place'}: correct the address; perhaps the "
        "Hub's base URL is missing, or the Hub has no service ngshare"
    )


def _explain_certificate(url: str, error: Exception) -> str:
    """Return what to do about a failure of TLS."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return (
            f"the certificate of {urlsplit(url).netloc} is of an authority that is not known "
            "here: set $REQUESTS_CA_BUNDLE to a PEM file with that authority, in "
            "c.Spawner.environment of the Hub"
        )
    return (
        f"{urlsplit(url).netloc} does not speak HTTPS, or not in a way that is known here: "
        "correct http:// or https:// in the address"
    )

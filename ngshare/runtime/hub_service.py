"""Configure the service from the environment variables that a JupyterHub sets for it."""

from __future__ import annotations

import json
import os
from urllib.parse import urlsplit

from traitlets import TraitError
from traitlets.config import Configurable

from ngshare.errors import StartError
from ngshare.runtime.commandline import invalid_setting
from ngshare.web.auth.hub_client import SharedHubAuth, missing_overridden
from ngshare.web.auth.identity import HubIdentity
from ngshare.web.auth.login_state import derive_secret

HUB_VARIABLES = (
    "JUPYTERHUB_API_TOKEN",
    "JUPYTERHUB_API_URL",
    "JUPYTERHUB_CLIENT_ID",
    "JUPYTERHUB_SERVICE_NAME",
    "JUPYTERHUB_SERVICE_URL",
)

SCOPES_VARIABLES = ("JUPYTERHUB_OAUTH_ACCESS_SCOPES", "JUPYTERHUB_OAUTH_SCOPES")
"""The scopes that give access to the service; the second name is the older one."""


def check_hub(api_url: str) -> None:
    """Raise StartError unless the Hub's environment variables are complete and valid.

    api_url: the URL of the Hub's API, from the environment or from a setting.
    """
    missing = [name for name in HUB_VARIABLES if not os.environ.get(name)]
    if api_url and "JUPYTERHUB_API_URL" in missing:
        missing.remove("JUPYTERHUB_API_URL")
    if missing:
        raise StartError(
            f"{' and '.join(missing)} not set: let JupyterHub launch ngshare "
            "(from ngshare.hub import configure_hub; configure_hub(c)), "
            "or run it alone with --vngshare"
        )
    if not _is_http_url(api_url):
        raise StartError(
            f"the Hub's API cannot be at {api_url!r}: JUPYTERHUB_API_URL or "
            "--jupyterhub_api_url must name a URL, as in http://127.0.0.1:8081/hub/api"
        )
    for name in SCOPES_VARIABLES:
        text = os.environ.get(name)
        if text and not _is_json_list_of_strings(text):
            raise StartError(
                f"{name} is {text[:100]!r}; it must be a JSON list of scopes, as in "
                f'["access:services!service={os.environ["JUPYTERHUB_SERVICE_NAME"]}"], or not set'
            )


def _is_http_url(text: str) -> bool:
    try:
        url = urlsplit(text)
        return url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:  # the port is not a number
        return False


def _is_json_list_of_strings(text: str) -> bool:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def hub_identity(parent: Configurable, prefix: str, api_url: str) -> HubIdentity:
    """Return the identity provider that asks the Hub about its users. Raises StartError.

    parent: the application whose configuration the Hub's client takes.
    prefix: the path under which the service is reached.
    api_url: the URL of the Hub's API.
    """
    if missing := missing_overridden():
        raise StartError(
            f"this version of JupyterHub's client has no {' and no '.join(missing)}, on which "
            "ngshare's authentication depends: install a version that ngshare was tested with "
            "(docs/install-hub.md names them)"
        )
    try:
        hub_auth = SharedHubAuth(parent=parent, base_url=prefix, api_url=api_url)
    except TraitError as error:
        raise invalid_setting(error) from error
    return HubIdentity(hub_auth, os.environ["JUPYTERHUB_SERVICE_NAME"])


def hub_cookie_secret() -> bytes:
    """Return the key that signs cookies: the same in all workers, and after a restart.

    It is derived from the service's API token, so it changes with the token.
    """
    return derive_secret(os.environ["JUPYTERHUB_API_TOKEN"], "cookies")


def hub_service_address() -> tuple[str, int]:
    """Return the host and port where the Hub expects the service to listen. Raises StartError."""
    text = os.environ["JUPYTERHUB_SERVICE_URL"]
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        host, port, url = None, None, urlsplit("")
    if url.scheme != "http" or not host:
        raise StartError(
            f"JUPYTERHUB_SERVICE_URL is {text!r}; it must say where to listen, "
            "as in http://127.0.0.1:10101"
        )
    return host, 80 if port is None else port

"""Checks of the user's Jupyter server: whether nbgrader's tabs are there and not blank."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from jupyter_core.paths import jupyter_config_path

from ngshare.exchange.commands.doctor.findings import Finding, note, ok, wrong

NBGRADER = "nbgrader"
"""The server extension that loads all of nbgrader's."""

EXTENSIONS = (
    "nbgrader.server_extensions.assignment_list",
    "nbgrader.server_extensions.validate_assignment",
    "ngshare.exchange.server_extension",
)
"""The server extensions that everybody's tabs need."""

TEACHING_EXTENSIONS = (
    "nbgrader.server_extensions.formgrader",
    "nbgrader.server_extensions.course_list",
)
"""Those that the tabs of instructors need; a site may switch them off for students."""

TIMEOUT = 60
"""Seconds to wait for the server's reply: nbgrader creates its gradebook before the first."""

_FRAME_ANCESTORS = re.compile(r"frame-ancestors\s+([^;]*)")


def check_jupyter_server(*, teaches: bool) -> Iterator[Finding]:
    """Yield the findings about extensions, and about the page of formgrader as it is served.

    teaches: whether the user needs formgrader.
    """
    needed = [*EXTENSIONS, *(TEACHING_EXTENSIONS if teaches else ())]
    enabled = _enabled_extensions()
    off = [name for name in needed if not _is_enabled(name, enabled)]
    if off:
        yield wrong(
            "extensions",
            f"not enabled: {', '.join(off)}; run jupyter server extension enable --sys-prefix "
            f"{' '.join(off)}, and restart the server",
        )
    else:
        yield ok("extensions", f"nbgrader's, and {EXTENSIONS[-1]}")
    if not teaches:
        return
    url = os.environ.get("JUPYTERHUB_SERVICE_URL")
    if not url:
        yield note("tabs", "not checked, since this is not a terminal of a server of the Hub")
        return
    yield _check_formgrader(url.replace("//0.0.0.0", "//127.0.0.1").rstrip("/"))


def _check_formgrader(url: str) -> Finding:
    """Check the page of formgrader on a running server."""
    token = os.environ.get("JUPYTERHUB_API_TOKEN", "")
    session = requests.Session()
    session.trust_env = False  # the server is on this machine: no proxy of the site is between
    try:
        reply = session.get(
            f"{url}/formgrader",
            headers={"Authorization": f"token {token}"},
            timeout=TIMEOUT,
        )
    except requests.RequestException:
        return note("tabs", f"not checked, since your server at {url} does not answer")
    if reply.status_code == 404:
        return wrong(
            "tabs",
            "your server has no formgrader: it runs without nbgrader's extension; restart it, and "
            "if that does not help: jupyter server extension enable --sys-prefix "
            "nbgrader.server_extensions.formgrader",
        )
    if reply.status_code >= 500:
        return wrong(
            "tabs",
            f"formgrader fails in your server ({reply.status_code}): the log of the server says "
            "why; ask your administrator for it",
        )
    # It leads to another page of the server, such as the choice of a course, but not to the Hub.
    if reply.status_code != 200 or not reply.url.startswith(f"{url}/"):
        return note("tabs", f"not checked, since {reply.url} answered with {reply.status_code}")
    policy = _FRAME_ANCESTORS.search(reply.headers.get("Content-Security-Policy", ""))
    if policy and policy[1].strip() == "'none'":
        return wrong(
            "tabs",
            "the Formgrader tab is blank, since your server forbids its frame (frame-ancestors "
            "'none'): enable the extension that allows it, jupyter server extension enable "
            "--sys-prefix ngshare.exchange.server_extension, and restart the server",
        )
    return ok("tabs", "formgrader is there, and may be shown in its tab")


def _is_enabled(name: str, enabled: dict[str, bool]) -> bool:
    return enabled.get(name, name.startswith(f"{NBGRADER}.") and enabled.get(NBGRADER, False))


def _enabled_extensions() -> dict[str, bool]:
    """Return the server extensions that are configured, and whether each is enabled."""
    enabled: dict[str, bool] = {}
    for folder in map(Path, reversed(jupyter_config_path())):
        files = [
            *sorted(folder.glob("jupyter_server_config.d/*.json")),
            folder / "jupyter_server_config.json",
        ]
        for file in files:
            enabled.update(_extensions_in(file))
    return enabled


def _extensions_in(file: Path) -> dict[str, bool]:
    try:
        settings: Any = json.loads(file.read_text("utf8"))
        return dict(settings["ServerApp"]["jpserver_extensions"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}

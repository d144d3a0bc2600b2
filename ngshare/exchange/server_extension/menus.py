"""Hide the tabs for instructors from students."""

from __future__ import annotations

from typing import Any

from ngshare.exchange.server_extension.caller import Caller

FOR_INSTRUCTORS = (
    "@jupyter/nbgrader:formgrader",
    "@jupyter/nbgrader:course-list",
    "@jupyter/nbgrader:create-assignment",
)
"""nbgrader's plugins of JupyterLab and Notebook that only instructors need."""

WAIT = 0.5
"""Seconds that a page waits for the service's answer, so that it shows the roster of now."""


def hide_from_students(settings: dict[str, Any], caller: Caller) -> None:
    """Disable instructors' plugins in the pages of a user who teaches no course.

    settings: the settings of the server's web application. JupyterLab and Notebook call the hook
    for each page that they load; the reload of a page is enough after a change of the roster.
    While the service has not answered, everything is offered. This is no protection: the service
    decides what a user may do.
    """
    other_hook = settings.get("page_config_hook")

    def hook(handler: Any, page_config: dict[str, Any]) -> dict[str, Any]:
        if other_hook:
            page_config = other_hook(handler, page_config)
        caller.ask_in_background(WAIT)
        if teaches(caller) is not False:
            return page_config
        disabled = page_config.get("disabledExtensions", [])
        return {**page_config, "disabledExtensions": [*disabled, *FOR_INSTRUCTORS]}

    settings["page_config_hook"] = hook


def teaches(caller: Caller) -> bool | None:
    """Return True for instructors of a course and admins; None if the service has not answered."""
    overview = caller.overview
    if overview is None:
        return None
    return overview.admin or any(course.role == "instructor" for course in overview.courses)

"""The Jupyter server extension that fits nbgrader's tabs to ngshare, in a user's server.

``ngshare.json`` enables it; an installation puts it into ``etc/jupyter/jupyter_server_config.d``.
The extension does nothing unless nbgrader's configuration selects the plugin. Jupyter calls the
functions below, whose names it prescribes; the modules are imported when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_server.serverapp import ServerApp

NAME = "ngshare.exchange.server_extension"


def _jupyter_server_extension_points() -> list[dict[str, str]]:
    """Tell Jupyter where the functions of the extension are."""
    return [{"module": NAME}]


def _link_jupyter_server_extension(server: ServerApp) -> None:
    """Change the server's settings that other extensions read when they are loaded."""
    from ngshare.exchange.server_extension.configuration import read_configuration
    from ngshare.exchange.server_extension.terminals import keep_commands_on_path

    if read_configuration() is not None:
        keep_commands_on_path(server)


def _load_jupyter_server_extension(server: ServerApp) -> None:
    """Fit nbgrader's extensions, which are loaded already, to ngshare."""
    from ngshare.exchange.plugin.course_choice import ANY_COURSE
    from ngshare.exchange.server_extension import assignment_list, course_list, formgrader, menus
    from ngshare.exchange.server_extension.caller import Caller
    from ngshare.exchange.server_extension.configuration import read_configuration

    config = read_configuration()
    if config is None:
        server.log.debug("nbgrader is not configured with ngshare: %s does nothing", NAME)
        return
    caller = Caller(config.Exchange.get("url") or None, server.log)
    caller.ask_in_background()
    menus.hide_from_students(server.web_app.settings, caller)
    named = config.CourseDirectory.get("course_id", "") not in ANY_COURSE
    assignment_list.install(caller, course_is_configured=named)
    if "nbgrader_formgrader" in server.web_app.settings:
        formgrader.install(server, caller)
        course_list.install(caller)

"""Let nbgrader's Course List list the courses that the user teaches, with links to formgrader.

nbgrader itself lists the course of its configuration, and the formgraders that run as services of
the Hub, for which the server's token may lack the scope.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from nbgrader.server_extensions.course_list.handlers import CourseListHandler
from tornado import web
from tornado.escape import url_escape

from ngshare.exchange.connection import ServiceError
from ngshare.exchange.plugin.course_choice import courses_in_role
from ngshare.exchange.server_extension.caller import Caller
from ngshare.exchange.server_extension.configuration import read_configuration


def install(caller: Caller) -> None:
    """Replace nbgrader's handler of the list."""

    @web.authenticated
    async def get(self: CourseListHandler) -> None:
        try:
            overview = await asyncio.to_thread(caller.ask)
        except ServiceError as error:
            self.finish(json.dumps({"success": False, "value": {"message": error.message}}))
            return
        url = f"{self.get_base_url()}{self.base_url}formgrader?course="
        courses = [
            {"course_id": name, "url": url + url_escape(name), "kind": "local"}
            for name in courses_in_role(overview, "instructor")
        ]
        courses += await _formgraders_of_hub(self)
        self.finish(json.dumps({"success": True, "value": courses}))

    CourseListHandler.get = get


async def _formgraders_of_hub(handler: CourseListHandler) -> list[dict[str, Any]]:
    """Return the courses whose formgrader is a service of the Hub, as far as the token may know."""
    try:
        found = await handler.check_for_jupyterhub_formgraders(read_configuration())
    except Exception as error:  # nbgrader lets all of them pass
        handler.log.debug("The services of the Hub are not listed: %s", error)
        return []
    return list(found)

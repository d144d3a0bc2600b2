"""The web application: every route under one prefix, and limits on the forms of pages."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import Application, RequestHandler

from ngshare.web.api import (
    archives,
    assignments,
    contents,
    courses,
    feedback,
    file_parts,
    health,
    manifests,
    overview,
    receipts,
    reports,
    roster,
    submissions,
    tree_uploads,
)
from ngshare.web.bodies.receive import ApiHandler, body_length
from ngshare.web.monitoring.request_log import log_request
from ngshare.web.pages import debug_records, login, start
from ngshare.web.pages.base import FORM_SECONDS, FORM_SIZE, TooLargeForm
from ngshare.web.route_access import audience_of, implemented_methods
from ngshare.web.service import Service

Route = tuple[str, type[RequestHandler]]


class WebApplication(Application):
    """Tornado's application with limits on the forms of pages, which Tornado reads itself."""

    def get_handler_delegate(
        self,
        request: HTTPServerRequest,
        target_class: type[RequestHandler],
        *args: Any,
        **kwargs: Any,
    ) -> Any:
        """Return Tornado's delegate for a request of which only the headers have arrived.

        Tornado creates a page's handler after it has read the body, and closes the connection
        without a reply when the body is too large. So :class:`TooLargeForm` takes the handler's
        place when the announced length exceeds the limit. Tornado replies to a larger body in
        chunks, which browsers do not send, with a bare 400.
        """
        if not issubclass(target_class, ApiHandler):
            connection: Any = request.connection
            connection.set_max_body_size(FORM_SIZE)
            connection.set_body_timeout(FORM_SECONDS)
            if (body_length(request.headers) or 0) > FORM_SIZE:
                target_class = TooLargeForm
        return super().get_handler_delegate(request, target_class, *args, **kwargs)


def make_application(
    service: Service, prefix: str, *, hub: bool, cookie_secret: bytes
) -> WebApplication:
    """Return the application. Raises ValueError when a route's method declares no audience."""
    routed = routes(prefix, hub=hub)
    check_audiences(routed)
    folder = Path(start.__file__).parent
    escaped = re.escape(prefix)
    named = [
        (
            pattern,
            handler,
            {"service": service, "route": name_route(pattern.removeprefix(escaped), handler)},
        )
        for pattern, handler in routed
    ]
    return WebApplication(
        named,
        default_handler_class=start.NotFound,
        default_handler_args={"service": service, "route": "unknown"},
        cookie_secret=cookie_secret,
        log_function=log_request,
        template_path=str(folder / "templates"),
        prefix=prefix,
        favicon=(folder / "static" / "favicon.png").read_bytes(),
        stylesheet=(folder / "static" / "style.css").read_bytes(),
        compress_response=False,
    )


def routes(prefix: str, *, hub: bool) -> list[Route]:
    """Return every path, as a pattern, with its handler. ``hub`` adds the login at the Hub."""
    modules = (
        *(start, courses, roster, assignments, submissions, feedback, reports, health),
        *(overview, manifests, contents, archives, receipts, tree_uploads, file_parts),
        debug_records,
    )
    relative: list[Route] = [route for module in modules for route in module.routes]
    if hub:
        relative += login.routes
    # Incomplete addresses, as people type them.
    typed: list[Route] = [
        (re.escape(path), start.RedirectToStartPage) for path in {"/", prefix[:-1]} - {prefix, ""}
    ]
    return [
        (r"/healthz", health.Health),
        (r"/readyz", health.Ready),
        *((re.escape(prefix) + pattern, handler) for pattern, handler in relative),
        *sorted(typed),
    ]


def name_route(pattern: str, handler: type[RequestHandler]) -> str:
    """Return a route's name in logs and metrics, such as ``assignment/{course}/{assignment}``."""
    method = getattr(handler, implemented_methods(handler)[0])
    parameters = list(inspect.signature(method).parameters)[1:]
    for parameter in parameters:
        pattern = pattern.replace("([^/]+)", f"{{{parameter}}}", 1)
    return re.sub(r"\\(.)", r"\1", pattern) or "start"


def check_audiences(routed: list[Route]) -> None:
    """Raise ValueError unless every method of every route declares its audience."""
    for pattern, handler in routed:
        for method in implemented_methods(handler):
            if audience_of(handler, method) is None:
                raise ValueError(
                    f"{handler.__name__}.{method}, at {pattern}, does not say who may call it: "
                    "decorate it with @allow(...)"
                )

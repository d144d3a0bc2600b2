"""Every route of the service, under one prefix."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from tornado.web import Application, RequestHandler

from ngshare.web.api import assignments, audit, courses, feedback, health, roster, submissions
from ngshare.web.monitoring.request_log import log_request
from ngshare.web.pages import debug_records, login, start
from ngshare.web.route_access import declared, implemented
from ngshare.web.service import Service

Route = tuple[str, type[RequestHandler]]


def routes(prefix: str, *, hub: bool) -> list[Route]:
    """Every path, as a pattern, with its handler. ``hub`` adds the way in through the Hub."""
    modules = (
        *(start, courses, roster, assignments, submissions, feedback, audit, health),
        debug_records,
    )
    relative: list[Route] = [route for module in modules for route in module.routes]
    if hub:
        relative += login.routes
    # What people type who leave something out.
    typed: list[Route] = [
        (re.escape(path), start.ToStartPage) for path in {"/", prefix[:-1]} - {prefix, ""}
    ]
    return [
        (r"/healthz", health.Health),
        (r"/readyz", health.Ready),
        *((re.escape(prefix) + pattern, handler) for pattern, handler in relative),
        *sorted(typed),
    ]


def name_route(pattern: str, handler: type[RequestHandler]) -> str:
    """What logs and metrics call a route: ``assignment/{course}/{assignment}``."""
    method = getattr(handler, implemented(handler)[0])
    parameters = list(inspect.signature(method).parameters)[1:]
    for parameter in parameters:
        pattern = pattern.replace("([^/]+)", f"{{{parameter}}}", 1)
    return re.sub(r"\\(.)", r"\1", pattern) or "start"


def check_declared(found: list[Route]) -> None:
    """Raise ValueError unless every method of every route says who may call it."""
    for pattern, handler in found:
        for method in implemented(handler):
            if declared(handler, method) is None:
                raise ValueError(
                    f"{handler.__name__}.{method}, at {pattern}, does not say who may call it: "
                    "decorate it with @allow(...)"
                )


def make_application(
    service: Service, prefix: str, *, hub: bool, cookie_secret: bytes
) -> Application:
    """The Tornado application. Raises ValueError when a route does not say who may call it."""
    found = routes(prefix, hub=hub)
    check_declared(found)
    folder = Path(start.__file__).parent
    escaped = re.escape(prefix)
    named = [
        (
            pattern,
            handler,
            {"service": service, "route": name_route(pattern.removeprefix(escaped), handler)},
        )
        for pattern, handler in found
    ]
    return Application(
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

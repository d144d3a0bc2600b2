"""Every route of the service, under one prefix."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

from tornado.web import Application, RequestHandler

from ngshare.web import assignments, courses, feedback, ops, pages, roster, submissions
from ngshare.web.base import NotFoundHandler, declared, implemented
from ngshare.web.service import Service

log = logging.getLogger("ngshare.access")

Route = tuple[str, type[RequestHandler]]


def routes(prefix: str, *, hub: bool) -> list[Route]:
    """Every path, as a pattern, with its handler. ``hub`` adds the way in through the Hub."""
    modules = (pages, courses, roster, assignments, submissions, feedback, ops)
    relative: list[Route] = [route for module in modules for route in module.routes]
    if hub:
        relative += pages.hub_routes
    return [(r"/healthz", ops.Health)] + [
        (re.escape(prefix) + pattern, handler) for pattern, handler in relative
    ]


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
    folder = Path(__file__).parent
    arguments = {"service": service}
    return Application(
        [(pattern, handler, arguments) for pattern, handler in found],
        default_handler_class=NotFoundHandler,
        default_handler_args=arguments,
        cookie_secret=cookie_secret,
        log_function=log_request,
        template_path=str(folder / "templates"),
        prefix=prefix,
        favicon=(folder / "static" / "favicon.png").read_bytes(),
        stylesheet=(folder / "static" / "style.css").read_bytes(),
        compress_response=False,
    )


def log_request(handler: RequestHandler) -> None:
    """One line for each request. Never its query string, which may hold a secret."""
    status = handler.get_status()
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    request = handler.request
    caller: Any = getattr(handler, "caller", None)
    if status < 400 and isinstance(handler, ops.Health):
        level = logging.DEBUG
    log.log(
        level,
        "%d %s %s (%s@%s) %.2fms",
        status,
        request.method,
        request.path,
        caller.name if caller else "",
        request.remote_ip,
        1000 * request.request_time(),
    )

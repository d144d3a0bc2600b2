"""Every route of the service, under one prefix."""

from __future__ import annotations

import inspect
import json
import logging
import re
from pathlib import Path

from tornado.web import Application, RequestHandler

from ngshare import logs
from ngshare.web import assignments, audit, courses, feedback, ops, pages, roster, submissions
from ngshare.web.base import BaseHandler
from ngshare.web.service import Service
from ngshare.web.who import declared, implemented

log = logging.getLogger("ngshare.access")

Route = tuple[str, type[RequestHandler]]


def routes(prefix: str, *, hub: bool) -> list[Route]:
    """Every path, as a pattern, with its handler. ``hub`` adds the way in through the Hub."""
    modules = (pages, courses, roster, assignments, submissions, feedback, audit, ops)
    relative: list[Route] = [route for module in modules for route in module.routes]
    if hub:
        relative += pages.hub_routes
    # What people type who leave something out.
    typed: list[Route] = [
        (re.escape(path), pages.ToStartPage) for path in {"/", prefix[:-1]} - {prefix, ""}
    ]
    return [
        (r"/healthz", ops.Health),
        (r"/readyz", ops.Ready),
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
    folder = Path(__file__).parent
    start = re.escape(prefix)
    named = [
        (
            pattern,
            handler,
            {"service": service, "route": name_route(pattern.removeprefix(start), handler)},
        )
        for pattern, handler in found
    ]
    return Application(
        named,
        default_handler_class=pages.NotFound,
        default_handler_args={"service": service, "route": "unknown"},
        cookie_secret=cookie_secret,
        log_function=log_request,
        template_path=str(folder / "templates"),
        prefix=prefix,
        favicon=(folder / "static" / "favicon.png").read_bytes(),
        stylesheet=(folder / "static" / "style.css").read_bytes(),
        compress_response=False,
    )


def log_request(handler: RequestHandler) -> None:
    """Count each request, and write one line. Never its query string, which may hold a secret."""
    assert isinstance(handler, BaseHandler)
    status = handler.get_status()
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    if status < 400 and isinstance(handler, (ops.Health, ops.Ready, ops.Metrics)):
        level = logging.DEBUG
    if status == 401 and isinstance(handler, pages.StartPage) and _sent_nothing(handler):
        level = logging.DEBUG  # the Hub, which looks every minute whether its service answers
    request = handler.request
    seconds = request.request_time()
    handler.service.metrics.answered(
        request.method or "", handler.route, status, seconds, handler.received, handler.sent
    )
    if not log.isEnabledFor(level):
        return
    user, course = handler.caller.name, handler.path_args[0] if handler.path_args else None
    log.log(
        level,
        "%d %s %s (%s@%s) %.2fms%s%s%s",
        status,
        request.method,
        request.path,
        user,
        request.remote_ip,
        1000 * seconds,
        f" course={json.dumps(course, ensure_ascii=False)}" if course else "",
        f" error={handler.error_id}" if handler.error_id else "",
        f" reason={handler.log_reason}" if handler.log_reason else "",
        extra=logs.fields(
            status=status,
            method=request.method,
            route=handler.route,
            path=request.path,
            user=user,
            course=course,
            address=request.remote_ip,
            milliseconds=round(1000 * seconds, 2),
            received=handler.received,
            sent=handler.sent,
            error=handler.error_id,
            reason=handler.log_reason,
        ),
    )


def _sent_nothing(handler: BaseHandler) -> bool:
    """Whether a request came without anything that could say who sent it."""
    headers = handler.request.headers
    return "Authorization" not in headers and "Cookie" not in headers

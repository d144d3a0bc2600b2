"""Write the access log, and count requests for the metrics."""

from __future__ import annotations

import json
import logging

from tornado.web import RequestHandler

from ngshare.web.api import health
from ngshare.web.base import BaseHandler
from ngshare.web.monitoring.log_fields import fields
from ngshare.web.pages import start

log = logging.getLogger("ngshare.access")


def log_request(handler: RequestHandler) -> None:
    """Count an answered request and log one line, without the query, which may hold a secret."""
    assert isinstance(handler, BaseHandler)
    status = handler.get_status()
    level = logging.INFO if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    if status < 400 and isinstance(handler, (health.Health, health.Ready, health.Metrics)):
        level = logging.DEBUG
    if status == 401 and isinstance(handler, start.StartPage) and _has_no_credentials(handler):
        level = logging.DEBUG  # the Hub, which checks every minute that its service answers
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
        extra=fields(
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


def _has_no_credentials(handler: BaseHandler) -> bool:
    """Return whether a request has no credentials at all."""
    headers = handler.request.headers
    return "Authorization" not in headers and "Cookie" not in headers

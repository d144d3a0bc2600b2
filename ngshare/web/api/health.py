"""Health, readiness and metrics over HTTP."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ngshare.errors import Forbidden
from ngshare.web.base import BaseHandler
from ngshare.web.route_access import Who, allow


class Health(BaseHandler):
    """Says that the process runs. It asks nobody, so it answers when nothing else does."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        self.reply()


class Ready(BaseHandler):
    """Says whether database and storage answer, and which of them does not."""

    @allow(Who.PUBLIC)
    async def get(self) -> None:
        ill = await self.service.readiness.ill()
        if ill:
            self.fail(503, f"Not ready: {' and '.join(ill)}")
        else:
            self.reply()


class Metrics(BaseHandler):
    """What Prometheus collects."""

    @allow(Who.METRICS)
    async def get(self) -> None:
        service = self.service
        if not (service.open_metrics or await service.identity.may_read_metrics(self)):
            await self.know_caller()
            if not self.caller.admin:
                raise Forbidden("Metrics are for admins, and tokens with the scope read:metrics")
        page = await asyncio.to_thread(service.metrics.page)
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(page)


routes = [
    (r"healthz", Health),
    (r"readyz", Ready),
    (r"metrics", Metrics),
]

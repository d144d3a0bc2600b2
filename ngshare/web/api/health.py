"""Handlers for probes and Prometheus: health, readiness, metrics."""

from __future__ import annotations

import asyncio

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from ngshare.errors import Forbidden
from ngshare.web.bodies.receive import ApiHandler
from ngshare.web.route_access import Audience, allow


class Health(ApiHandler):
    """Reply that the process runs, without asking the database, the storage or the Hub."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        self.reply()


class Ready(ApiHandler):
    """Reply whether database and storage are ready, with 503 and their names if not."""

    @allow(Audience.PUBLIC)
    async def get(self) -> None:
        failed = await self.service.readiness.find_failed()
        if failed:
            self.fail(503, f"Not ready: {' and '.join(failed)}")
        else:
            self.reply()


class Metrics(ApiHandler):
    """Return the metrics in Prometheus' text format."""

    @allow(Audience.METRICS)
    async def get(self) -> None:
        service = self.service
        if not (service.open_metrics or await service.identity.may_read_metrics(self)):
            await self.set_caller()
            if not self.caller.admin:
                raise Forbidden("Metrics are for admins, and tokens with the scope read:metrics")
        page = await asyncio.to_thread(service.metrics.exposition)
        self.set_header("Content-Type", CONTENT_TYPE_PLAIN_0_0_4)
        self.finish(page)


routes = [
    (r"healthz", Health),
    (r"readyz", Ready),
    (r"metrics", Metrics),
]

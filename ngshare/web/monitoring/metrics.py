"""Prometheus metrics of the service.

One process counts them in memory. Several workers that share a port count them in files of one
folder, so that the worker that Prometheus happens to reach replies for all of them.
"""

from __future__ import annotations

import os

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    generate_latest,
    multiprocess,
)

from ngshare import __version__

SHARED_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
"""The environment variable that names the shared folder to Prometheus' client library."""

METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "PUT", "PATCH", "OPTIONS"})
"""The methods that are counted by name. Clients can make up any number of others."""

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """Every metric of the service. ``docs/monitoring.md`` says what each one means."""

    def __init__(self) -> None:
        self._own = CollectorRegistry()
        self.requests = self._counter(
            "ngshare_requests", "Requests that were answered", "method", "route", "status"
        )
        self.request_seconds = Histogram(
            "ngshare_request_duration_seconds",
            "Time from a request's headers to its reply",
            ("method", "route"),
            buckets=SECONDS,
            registry=self._own,
        )
        self.requests_in_flight = Gauge(
            "ngshare_requests_in_flight",
            "Requests that are being answered",
            registry=self._own,
            multiprocess_mode="livesum",
        )
        self.received_bytes = self._counter(
            "ngshare_received_bytes", "Bytes of request bodies that were received"
        )
        self.sent_bytes = self._counter("ngshare_sent_bytes", "Bytes of reply bodies")
        self.submissions = self._counter("ngshare_submissions", "Submissions that were handed in")
        self.hub_questions = self._counter(
            "ngshare_hub_questions", "Tokens that the Hub was asked about"
        )
        self.hub_refreshes = self._counter(
            "ngshare_hub_refreshes",
            "Questions to the Hub that nobody waited for, before an answer was too old",
        )
        self.hub_questions_saved = self._counter(
            "ngshare_hub_questions_saved",
            "Tokens that the Hub was not asked about: known already, or being asked about",
        )
        self.hub_errors = self._counter(
            "ngshare_hub_errors", "Questions that the Hub did not answer"
        )
        self.database_retries = self._counter(
            "ngshare_database_retries", "Transactions that lost a race and were run again"
        )
        self.database_errors = self._counter(
            "ngshare_database_errors",
            "Transactions that failed: gave_up (lost too many races), failed, full",
            "kind",
        )
        self.storage_errors = self._counter(
            "ngshare_storage_errors",
            "Failures of the file storage: failed, full, missing (lost bytes)",
            "kind",
        )
        self.reads_not_logged = self._counter(
            "ngshare_reads_not_logged", "Reads that the audit log lacks, for want of a database"
        )
        self._answered: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        """The counters by labels, cached because looking them up takes longer than incrementing."""
        build = Gauge(
            "ngshare_build_info",
            "The version that runs; always 1",
            ("version",),
            registry=self._own,
            multiprocess_mode="max",
        )
        build.labels(__version__).set(1)
        for kind in ("gave_up", "failed", "full"):
            self.database_errors.labels(kind)
        for kind in ("failed", "full", "missing"):
            self.storage_errors.labels(kind)

    def answered(
        self, method: str, route: str, status: int, seconds: float, received: int, sent: int
    ) -> None:
        """Count a request that was answered.

        route: the name of the route, never the path. received, sent: the sizes of the bodies, in
        bytes.
        """
        if method not in METHODS:
            method = "other"
        kind = (method, route, status)
        if kind not in self._answered:
            self._answered[kind] = (
                self.requests.labels(method, route, str(status)),
                self.request_seconds.labels(method, route),
            )
        counter, histogram = self._answered[kind]
        counter.inc()
        histogram.observe(seconds)
        self.received_bytes.inc(received)
        self.sent_bytes.inc(sent)

    def exposition(self) -> bytes:
        """Return the metrics of all workers in Prometheus' text format 0.0.4. Blocks."""
        folder = os.environ.get(SHARED_FOLDER)
        if not folder:
            return generate_latest(self._own)
        all_workers = CollectorRegistry()
        multiprocess.MultiProcessCollector(all_workers, folder)  # type: ignore[no-untyped-call]  # it has no types
        return generate_latest(all_workers)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(name, meaning, labels, registry=self._own)

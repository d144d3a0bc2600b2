"""Describe a started service for the log: address, database, storage, and risks."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import URL

from ngshare import __version__
from ngshare.db.urls import show_url

SAFETY = {
    "sqlite": "SAFE, and tested, on SQLite on a local disk: one ngshare of up to 4 workers with 4 "
    "threads each, or of one process with up to 8 threads. NOT SAFE: SQLite on a network file "
    "system (NFS, SMB, CephFS), and several replicas on SQLite; use PostgreSQL for those.",
    "postgresql": "SAFE: several ngshare processes on one PostgreSQL, as workers, or as services "
    "on one or more machines, if all are of one version and have the same storage folder and the "
    "same token of the Hub. Tested, on one machine: up to 4 workers with 4 threads each, two such "
    "services, and 8 that start at once. NOT SAFE: services on one database with a storage folder "
    "each. Not tested: a storage folder shared over a network. Each thread keeps one connection.",
}
"""The safe combinations of processes, by database backend. ``tests/process`` tests them."""


@dataclass(frozen=True)
class Banner:
    """The facts and warnings that are logged about a service that has started to listen.

    previous_revision: the database's revision before the start; None when it had none.
    revision: the database's revision now.
    hub_api_url: None for a stand-alone service.
    threads, workers: threads of each process, and processes.
    """

    host: str
    port: int
    prefix: str
    database: URL
    previous_revision: str | None
    revision: str
    storage: str
    admins: Sequence[str]
    hub_api_url: str | None
    debug: bool
    threads: int
    workers: int

    @property
    def _address(self) -> str:
        return f"[{self.host}]" if ":" in self.host else self.host

    def facts(self) -> list[str]:
        """Return lines for the log about the configuration."""
        if self.previous_revision == self.revision:
            change = "up to date"
        elif self.previous_revision:
            change = f"upgraded from {self.previous_revision}"
        else:
            change = "newly created"
        mode = f"service of the Hub at {self.hub_api_url}" if self.hub_api_url else "stand-alone"
        facts = [
            f"ngshare {__version__} listens on http://{self._address}:{self.port}{self.prefix}",
            f"Database: {show_url(self.database)}, revision {self.revision}, {change}",
            f"Storage: {Path(self.storage).absolute()}",
            f"Admins: {', '.join(self.admins) or 'none; nobody can create a course'}",
            f"Mode: {mode}{', debug' if self.debug else ''}",
        ]
        if not self._is_parallel and self.database.get_backend_name() == "postgresql":
            # This process may be one of several replicas, without knowing it.
            facts.append(SAFETY["postgresql"])
        return facts

    def warnings(self) -> list[str]:
        """Return lines for the log about risks, and what to do."""
        lines = [
            f"Every user of this machine can read {path}: chmod -R o= {shlex.quote(str(path))}"
            for path in filter(_is_world_readable, self._private_paths())
        ]
        if self.hub_api_url is None:
            lines.append(
                "STAND-ALONE: everybody who reaches this port can be anybody, by giving their "
                "name. For trying out only; never for a class."
            )
            if self.host not in ("127.0.0.1", "::1"):
                lines.append(
                    f"STAND-ALONE AND OPEN TO THE NETWORK at {self._address}: anybody there can "
                    "read and change everything."
                )
        elif self.debug:
            lines.append(
                "DEBUG BEHIND A HUB: whoever may use this service can read every record of every "
                "course, and an admin can delete them all with one request. For looking for a "
                "fault; never for a class."
            )
        if self._is_parallel:
            lines.append(
                f"Configured: {self.workers} worker process(es) with {self.threads} database "
                f"thread(s) each. {SAFETY[self.database.get_backend_name()]}"
            )
        return lines

    @property
    def _is_parallel(self) -> bool:
        return self.threads > 1 or self.workers > 1

    def _private_paths(self) -> list[Path]:
        """Return the files and folders with private data."""
        paths = [Path(self.storage, "blobs")]
        if self.database.get_backend_name() == "sqlite":
            paths.append(Path(self.database.database or ""))
        return paths


def _is_world_readable(path: Path) -> bool:
    """Return whether every user of this machine can read a file or folder."""
    path = path.absolute()
    return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(
        path.stat().st_mode & 0o004
    )

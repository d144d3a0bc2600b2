"""What a start says of itself: where it listens, what it keeps where, and what is not safe."""

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
"""Which combinations are safe, for each kind of database. Tested is what ``tests/process`` runs."""


@dataclass(frozen=True)
class Start:
    """A service that listens, as an administrator wants to know it.

    ``before`` is the revision that the database had, None when it had none;
    ``hub_api_url`` is None for a service that runs alone.
    """

    host: str
    port: int
    prefix: str
    database: URL
    before: str | None
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
        """A few lines, of which each says one thing."""
        change = f"upgraded from {self.before}" if self.before else "newly created"
        if self.before == self.revision:
            change = "up to date"
        mode = f"service of the Hub at {self.hub_api_url}" if self.hub_api_url else "stand-alone"
        facts = [
            f"ngshare {__version__} listens on http://{self._address}:{self.port}{self.prefix}",
            f"Database: {show_url(self.database)}, revision {self.revision}, {change}",
            f"Storage: {Path(self.storage).absolute()}",
            f"Admins: {', '.join(self.admins) or 'none; nobody can create a course'}",
            f"Mode: {mode}{', debug' if self.debug else ''}",
        ]
        if not self._is_several and self.database.get_backend_name() == "postgresql":
            # A replica does not know of the others, so each says it.
            facts.append(SAFETY["postgresql"])
        return facts

    def warnings(self) -> list[str]:
        """What of it is not safe, and what to do about that; a line each."""
        lines = [
            f"Every user of this machine can read {path}: chmod -R o= {shlex.quote(str(path))}"
            for path in filter(_is_open_to_others, self._kept())
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
        if self._is_several:
            lines.append(
                f"Configured: {self.workers} worker process(es) with {self.threads} database "
                f"thread(s) each. {SAFETY[self.database.get_backend_name()]}"
            )
        return lines

    @property
    def _is_several(self) -> bool:
        return self.threads > 1 or self.workers > 1

    def _kept(self) -> list[Path]:
        """Where it keeps what is nobody else's business."""
        kept = [Path(self.storage, "blobs")]
        if self.database.get_backend_name() == "sqlite":
            kept.append(Path(self.database.database or ""))
        return kept


def _is_open_to_others(path: Path) -> bool:
    """Whether users of this machine who are neither we nor in our group can read this."""
    path = path.absolute()
    return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(
        path.stat().st_mode & 0o004
    )

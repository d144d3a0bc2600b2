"""The manifest of a backup: its contents, in ``manifest.json``, written when it is complete."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from ngshare.admin import copy_rows
from ngshare.blobs.store import PIECE
from ngshare.db import migrate
from ngshare.db.models import File
from ngshare.errors import StartError
from ngshare.files import atomic_write
from ngshare.protocol.times import format_time

FORMAT = 1
MANIFEST_FILE = "manifest.json"


class BackupError(StartError):
    """A backup cannot be made in a folder, or cannot be used."""


@dataclass(slots=True)
class Manifest:
    """The contents of a backup.

    ``made`` is the time at which it was made, in the API's format; ``revision`` that of the
    database's schema. ``database`` is the name of the SQLite file beside the manifest, ``sha256``
    the hash of that file in hex, and ``rows`` the number of rows in each table. ``storage`` is the
    folder that holds ``blobs``, relative to the manifest's. ``files`` and ``bytes`` count the
    blobs that rows reference. ``damaged`` are the digests, in hex, of those that were missing or
    damaged at the site when the backup was made.
    """

    made: str
    revision: str
    database: str
    sha256: str
    rows: dict[str, int]
    files: int
    bytes: int
    damaged: list[str] = field(default_factory=list)
    storage: str = "."
    format: int = FORMAT


def make_manifest(path: Path, connection: Connection, made: datetime) -> Manifest:
    """Return the manifest of a backup whose database is at ``path``, and open as ``connection``.

    ``made`` (UTC) is a time before the database was copied. Raises BackupError when the copy
    cannot be read.
    """
    sizes = select(File.sha256, func.max(File.size).label("size")).where(File.sha256.is_not(None))
    blobs = sizes.group_by(File.sha256).subquery()
    files, size = connection.execute(
        select(func.count(), func.coalesce(func.sum(blobs.c.size), 0)).select_from(blobs)
    ).one()
    revision, digest = migrate.current_revision(connection), hash_file(path)
    if revision is None or digest is None:
        raise BackupError(f"{path}, the copy of the database, cannot be read")
    return Manifest(
        made=format_time(made),
        revision=revision,
        database=path.name,
        sha256=digest.hex(),
        rows=copy_rows.count_rows(connection),
        files=files,
        bytes=size,
    )


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest into ``folder`` durably, which completes the backup. Raises OSError."""
    text = json.dumps(asdict(manifest), indent=1) + "\n"
    atomic_write(folder / MANIFEST_FILE, lambda file: file.write(text.encode()))


def read_manifest(folder: Path) -> Manifest:
    """Return the manifest in ``folder``. Raises BackupError when there is none that is valid."""
    try:
        fields = json.loads((folder / MANIFEST_FILE).read_text(encoding="utf8"))
    except FileNotFoundError:
        raise BackupError(
            f"{folder} holds no complete backup: there is no {MANIFEST_FILE} in it"
        ) from None
    except (OSError, ValueError) as error:
        raise BackupError(f"{folder / MANIFEST_FILE} cannot be read ({error})") from error
    if not isinstance(fields, dict) or fields.get("format") != FORMAT:
        raise BackupError(
            f"{folder / MANIFEST_FILE} is not a manifest that this ngshare understands"
        )
    try:
        return Manifest(**fields)
    except TypeError as error:
        raise BackupError(f"{folder / MANIFEST_FILE} is damaged ({error})") from error


def hash_file(path: Path) -> bytes | None:
    """Return the SHA-256 of a file (32 bytes); None when it cannot be read."""
    sha256 = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            while piece := file.read(PIECE):
                sha256.update(piece)
    except OSError:
        return None
    return sha256.digest()

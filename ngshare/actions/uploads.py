"""Files that users upload in parts, before a tree names them.

An upload belongs to one user and one course. It is forgotten :data:`UNUSED` after its last part.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, ParamSpec, TypeVar

from sqlalchemy import ColumnElement, Connection, delete, func, insert, select, update

from ngshare.actions import audit, users
from ngshare.actions.access import Access, Caller, require_member
from ngshare.actions.chunks import chunks
from ngshare.actions.locks import lock_row
from ngshare.actions.quota import Action, over_quota, sum_sizes
from ngshare.db.models import Upload, UploadPart, User
from ngshare.errors import BadRequest, Conflict, TooLarge

P = ParamSpec("P")
T = TypeVar("T")

UNUSED = timedelta(hours=24)
"""The time after its last part after which an upload is forgotten."""


class Part(NamedTuple):
    """A stored part of a file: its first byte, its digest (SHA-256, 32 bytes), its size."""

    start: int
    sha256: bytes
    size: int


@dataclass(frozen=True, slots=True)
class UploadState:
    """An upload after a part: its row's id, and the bytes received without a gap.

    ``parts`` has all of them when the file is complete and its blob is not stored yet.
    """

    id: int
    received: int
    parts: list[Part] | None = None


@dataclass(frozen=True, slots=True)
class UploadLimits:
    """The most bytes of one user's uploads, and of a course (None: no limit)."""

    pending: int
    quota: int | None


def authorize_part(
    connection: Connection,
    caller: Caller,
    course: str,
    sha256: bytes,
    size: int,
    limits: UploadLimits,
) -> Access:
    """Return the access of a member of the course or an admin, who may upload a file to it.

    Raises NotFound, Forbidden for others, and TooLarge and OverQuota if the file of ``size`` bytes
    exceeds the limits. Requests call it before a part is stored.
    """
    access = require_member(connection, caller, course)
    others = (Upload.user_id == (access.caller_id or 0)) & (Upload.sha256 != sha256)
    pending = _sum_pending(connection, others & (Upload.used_at > audit.now() - UNUSED))
    if pending + size > limits.pending:
        raise TooLarge(
            f"Your unfinished uploads would have more than {limits.pending // 2**20} MiB, the most "
            "that this service accepts at once"
        )
    if limits.quota is not None:
        used = sum_sizes(connection, access.course_id)
        used += _sum_pending(
            connection,
            (Upload.course_id == access.course_id)
            & (Upload.sha256 != sha256)
            & (Upload.used_at > audit.now() - UNUSED),
        )
        if used + size > limits.quota:
            raise over_quota(course, limits.quota)
    return access


def find_received(connection: Connection, caller: Caller, course: str, sha256: bytes) -> int | None:
    """Return the bytes of a file that the caller has uploaded so far; None if it is complete."""
    access = require_member(connection, caller, course)
    upload = connection.execute(
        select(Upload.id, Upload.md5).where(
            Upload.user_id == (access.caller_id or 0),
            Upload.course_id == access.course_id,
            Upload.sha256 == sha256,
        )
    ).one_or_none()
    if upload is None:
        return 0
    if upload.md5 is not None:
        return None
    return sum(part.size for part in _list_parts(connection, upload.id))


def add_part(
    connection: Connection,
    caller: Caller,
    course: str,
    sha256: bytes,
    size: int,
    part: Part,
    limits: UploadLimits,
) -> UploadState:
    """Record a stored part of the file with this digest and size (bytes), and return the state.

    Parts come in order; one that was received before changes nothing. Raises Conflict when bytes
    are missing before the part, and what :func:`authorize_part` raises.
    """
    access = authorize_part(connection, caller, course, sha256, size, limits)
    user_id = access.caller_id or users.ensure_users(connection, [caller.name])[caller.name]
    if lock_row(connection, User, user_id):
        # Meanwhile other parts may have used up the limits.
        access = authorize_part(connection, caller, course, sha256, size, limits)
    now = audit.now()
    _forget(connection, (Upload.user_id == user_id) & (Upload.used_at <= now - UNUSED))
    upload = connection.execute(
        select(Upload.id, Upload.size, Upload.md5).where(
            Upload.user_id == user_id,
            Upload.course_id == access.course_id,
            Upload.sha256 == sha256,
        )
    ).one_or_none()
    if upload is not None and upload.size != size:
        raise BadRequest("The size is not that of the other parts")
    if upload is None:
        new = {"user_id": user_id, "course_id": access.course_id, "sha256": sha256}
        upload_id = connection.execute(
            insert(Upload).returning(Upload.id), {**new, "size": size, "used_at": now}
        ).scalar_one()
    else:
        upload_id = upload.id
        if upload.md5 is not None and part.start > 0:
            return UploadState(upload_id, size)  # it was complete already
        # A first part after the last one: the blob was lost, and is uploaded again.
        connection.execute(
            update(Upload).where(Upload.id == upload_id).values(used_at=now, md5=None)
        )
    parts = _list_parts(connection, upload_id)
    received = sum(each.size for each in parts)
    if part.start + part.size <= received:
        return _state(upload_id, received, size, parts)
    if part.start != received:
        raise Conflict(f"Send the part that begins with byte {received}")
    connection.execute(insert(UploadPart), {"upload_id": upload_id, **part._asdict()})
    return _state(upload_id, received + part.size, size, [*parts, part])


def complete_upload(
    connection: Connection, caller: Caller, upload_id: int, sha256: bytes, md5: bytes
) -> None:
    """Record that the blob of a complete upload is stored; its parts are not needed any more.

    Nothing happens if the upload was forgotten meanwhile.
    """
    same = _is_upload(caller, upload_id, sha256)
    if connection.execute(update(Upload).where(same).values(md5=md5)).rowcount:
        connection.execute(delete(UploadPart).where(UploadPart.upload_id == upload_id))


def forget_upload(connection: Connection, caller: Caller, upload_id: int, sha256: bytes) -> None:
    """Forget an upload whose parts do not make up the file."""
    _forget(connection, _is_upload(caller, upload_id, sha256))


def _is_upload(caller: Caller, upload_id: int, sha256: bytes) -> ColumnElement[bool]:
    """Return the condition for the caller's upload of a file.

    The id alone is not enough: SQLite gives the id of a deleted row to another one.
    """
    user_id = select(User.id).where(User.name == caller.name).scalar_subquery()
    return (Upload.id == upload_id) & (Upload.sha256 == sha256) & (Upload.user_id == user_id)


def forget_after(digests: Collection[bytes], action: Action[P, T]) -> Action[P, T]:
    """Return an action that forgets the caller's uploads of these files after it.

    The action, whose arguments begin with connection, caller and course, stores a tree with them.
    """
    if not digests:
        return action

    def run(
        connection: Connection, caller: Caller, course: str, /, *args: P.args, **kwargs: P.kwargs
    ) -> T:
        result = action(connection, caller, course, *args, **kwargs)
        _forget_used(connection, caller, course, digests)
        return result

    return run


def _forget_used(
    connection: Connection, caller: Caller, course: str, digests: Collection[bytes]
) -> None:
    access = require_member(connection, caller, course)
    for chunk in chunks(list(digests)):
        _forget(
            connection,
            (Upload.user_id == access.caller_id)
            & (Upload.course_id == access.course_id)
            & Upload.sha256.in_(chunk),
        )


def forget_unused(connection: Connection, before: datetime) -> None:
    """Forget all uploads whose last part arrived before a time in UTC."""
    _forget(connection, Upload.used_at < before)


def forget_of_course(connection: Connection, course_id: int) -> None:
    """Forget all uploads to a course."""
    _forget(connection, Upload.course_id == course_id)


def count_received(
    connection: Connection, caller: Caller, course: str, digests: Collection[bytes]
) -> dict[bytes, int]:
    """Return how many bytes of each file the caller has uploaded; files without any are left out.

    Of a file whose parts are all there, the last one does not count: the request that sent it
    ended before it stored the file, and is to be repeated.
    """
    access = require_member(connection, caller, course)
    received: dict[bytes, int] = {}
    for chunk in chunks(list(digests)):
        rows = connection.execute(
            select(
                Upload.sha256,
                Upload.size,
                func.sum(UploadPart.size).label("stored"),
                func.max(UploadPart.start).label("last"),
            )
            .join(UploadPart, UploadPart.upload_id == Upload.id)
            .where(
                Upload.user_id == access.caller_id,
                Upload.course_id == access.course_id,
                Upload.sha256.in_(chunk),
            )
            .group_by(Upload.id)
        )
        for row in rows:
            size = row.last if row.stored == row.size else row.stored
            if size:
                received[row.sha256] = int(size)
    return received


def _state(upload_id: int, received: int, size: int, parts: list[Part]) -> UploadState:
    if received > size:
        raise BadRequest("The parts are longer than the file")
    return UploadState(upload_id, received, parts if received == size else None)


def _list_parts(connection: Connection, upload_id: int) -> list[Part]:
    rows = connection.execute(
        select(UploadPart.start, UploadPart.sha256, UploadPart.size)
        .where(UploadPart.upload_id == upload_id)
        .order_by(UploadPart.start)
    )
    return [Part(*row) for row in rows]


def _sum_pending(connection: Connection, condition: ColumnElement[bool]) -> int:
    total = connection.scalar(select(func.coalesce(func.sum(Upload.size), 0)).where(condition))
    return int(total or 0)  # PostgreSQL's sum is a decimal


def _forget(connection: Connection, condition: ColumnElement[bool]) -> None:
    ids: Sequence[int] = connection.scalars(select(Upload.id).where(condition)).all()
    for chunk in chunks(ids):
        connection.execute(delete(UploadPart).where(UploadPart.upload_id.in_(chunk)))
        connection.execute(delete(Upload).where(Upload.id.in_(chunk)))

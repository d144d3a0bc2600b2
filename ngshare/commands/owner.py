"""Switch from root to the user who owns a site, before a command does anything.

Otherwise files that a command creates, such as a database, a blob or a lock, would belong to root,
and the service, which runs as the owner, could not read them.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ngshare.db import migrate
from ngshare.errors import StartError


class CannotSwitchUser(StartError):
    """Root cannot become the owner of the site."""


@dataclass(frozen=True, slots=True)
class Owner:
    """The user who owns a site. ``name`` is the user's number as text when it has no name."""

    uid: int
    gid: int
    name: str


def find_owner(paths: Sequence[Path]) -> Owner | None:
    """Return the owner of the first of these paths that exists; None when none does."""
    for path in paths:
        try:
            status = path.stat()
        except OSError:
            continue
        try:
            user = pwd.getpwuid(status.st_uid)
        except KeyError:  # in a container the number may have no name
            return Owner(status.st_uid, status.st_gid, str(status.st_uid))
        return Owner(user.pw_uid, user.pw_gid, user.pw_name)
    return None


def switch_user(owner: Owner) -> None:
    """Run this process as ``owner`` from now on. Raises CannotSwitchUser."""
    try:
        os.setgroups(os.getgrouplist(owner.name, owner.gid) if owner.name != str(owner.uid) else [])
        os.setgid(owner.gid)
        os.setuid(owner.uid)
    except OSError as error:
        raise CannotSwitchUser(
            f"the site belongs to the user {owner.name}, and root cannot become that user here "
            f"({error.strerror}): run this as that user"
        ) from error
    # Modules that are imported later must be readable for the owner, too.
    if not os.access(migrate.migrations_folder() / "versions", os.R_OK | os.X_OK):
        raise CannotSwitchUser(
            f"the site belongs to the user {owner.name}, who cannot read ngshare at "
            f"{Path(migrate.__file__).parents[1]}: install it where that user can, and run this as "
            "that user"
        )

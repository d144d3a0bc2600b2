"""Root becomes the user whose site it is, before a command does anything.

Whatever root wrote there, a database, a blob or a file of locks, would be root's alone, and the
service, which runs as that user, could neither read it nor say so before somebody needs it.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ngshare.db import migrate


class CannotBecome(Exception):
    """Root cannot become the owner of the site. The message is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose a site is: a user's number, their main group's, and the name, or the number as text."""

    uid: int
    gid: int
    name: str


def owner_of(places: Sequence[Path]) -> Owner | None:
    """Whose the first of these places is that exists; None when none does."""
    for place in places:
        try:
            found = place.stat()
        except OSError:
            continue
        try:
            user = pwd.getpwuid(found.st_uid)
        except KeyError:  # in a container there need not be a name for it
            return Owner(found.st_uid, found.st_gid, str(found.st_uid))
        return Owner(user.pw_uid, user.pw_gid, user.pw_name)
    return None


def become(owner: Owner) -> None:
    """Be that user from here on, for good. Raises CannotBecome."""
    try:
        os.setgroups(os.getgrouplist(owner.name, owner.gid) if owner.name != str(owner.uid) else [])
        os.setgid(owner.gid)
        os.setuid(owner.uid)
    except OSError as error:
        raise CannotBecome(
            f"the site belongs to the user {owner.name}, and root cannot become that user here "
            f"({error.strerror}): run this as that user"
        ) from error
    # What is imported only when it is needed must be in reach of that user as well.
    if not os.access(migrate.scripts() / "versions", os.R_OK | os.X_OK):
        raise CannotBecome(
            f"the site belongs to the user {owner.name}, who cannot read ngshare at "
            f"{Path(migrate.__file__).parents[1]}: install it where that user can, and run this as "
            "that user"
        )

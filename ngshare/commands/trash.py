"""``ngshare trash``: what was removed, back again or gone for good."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from traitlets import Enum, Unicode

from ngshare.actions import audit, purge, trash
from ngshare.actions.purge import Purged
from ngshare.actions.trash import TrashItem
from ngshare.commands.base import DONE, SETTINGS, YES, Command, count
from ngshare.db.progress import Progress
from ngshare.db.transactions import Database

TOGETHER = 100
"""How many members or replaced trees one transaction purges; a course has one of its own."""


class Trash(Command):
    """List what was removed or replaced, bring it back, or purge it for good.

    Nothing that is removed over the web is destroyed: it is hidden, and stays in the trash
    until `ngshare trash purge`.
    """

    name = Unicode("ngshare trash")
    subcommands = {
        "list": ("ngshare.commands.trash.List", "List what was removed or replaced"),
        "restore": ("ngshare.commands.trash.Restore", "Bring something back"),
        "purge": ("ngshare.commands.trash.Purge", "Delete for good what was removed long ago"),
    }
    examples = Unicode("""
    ngshare trash list
    """)


class List(Command):
    """List the courses, assignments and members that were removed, and what newer trees replaced.

    Each line begins with a key, by which `ngshare trash restore` brings it back, and says when
    it was removed, and by whom.
    """

    name = Unicode("ngshare trash list")
    aliases = {**SETTINGS, "course": "List.course", "kind": "List.kind"}
    examples = Unicode("""
    ngshare trash list
    ngshare trash list --course "Physics 101" --kind assignment
    """)

    course = Unicode(help="Only of courses of this name").tag(config=True)
    kind = Enum(
        trash.KINDS,
        default_value=None,
        allow_none=True,
        help=f"Only one kind: {', '.join(trash.KINDS)}",
    ).tag(config=True)

    def run(self) -> int:
        with self.open_database() as database:
            items = database.read(
                trash.list_trash, self.caller, course=self.course or None, kind=self.kind
            )
        for item in items:
            self.say(f"{item.key:<6} {describe(item)}")
        if not items:
            self.say("There is nothing of that in the trash.")
        return DONE


class Restore(Command):
    """Bring back what was removed or replaced, by its key in `ngshare trash list`.

    A course comes back with all that is in it, an assignment with its submissions. An old
    release or old feedback takes the place of the newer one, which is in the trash then.
    When a course of the same name exists, give the restored one another with --as.
    """

    name = Unicode("ngshare trash restore")
    usage = "KEY..."
    takes = (1, 1000)
    aliases = {**SETTINGS, "as": "Restore.new_name"}
    examples = Unicode("""
    ngshare trash restore a7
    ngshare trash restore c3 --as "Physics 101 (2025)"
    """)

    new_name = Unicode(help="The restored course's name, when its own is taken").tag(config=True)

    def run(self) -> int:
        with self.open_database() as database:
            for key in self.words:
                item = database.write(trash.restore, self.caller, key, self.new_name or None)
                named = f", as {self.new_name}" if self.new_name else ""
                self.say(f"Restored {key}: {what(item)}{named}")
        return DONE


class Purge(Command):
    """Delete for good what was removed or replaced more than 30 days ago (--days).

    Says what it will delete, and asks. A course goes with all that is in it, an assignment
    with its submissions. The rows go at once; `ngshare storage gc` then frees the room of
    their files. The audit log keeps what it tells of them.
    """

    name = Unicode("ngshare trash purge")
    aliases = {**SETTINGS, "days": "Ngshare.keep_removed_days"}
    flags = YES
    examples = Unicode("""
    ngshare trash purge
    ngshare trash purge --days 365 --yes       # every night, by cron
    """)

    def run(self) -> int:
        before = audit.now() - timedelta(days=self.keep_removed_days)
        age = f"more than {count(self.keep_removed_days, 'day')} ago"
        with self.open_database() as database:
            items = database.read(trash.list_trash, self.caller, before=before)
            if not items:
                self.say(f"Nothing to purge: nothing was removed {age}.")
                return DONE
            self.say(f"This will be deleted for good (removed {age}):")
            for item in items:
                self.say(f"  {item.key:<6} {describe(item)}")
            self.confirm("Delete all this for good?")
            purged = self._purge(database, items, before)
        self.say(
            f"Purged {count(purged.courses, 'course')}, {count(purged.assignments, 'assignment')}, "
            f"{count(purged.submissions, 'submission')}, {count(purged.members, 'member')} and "
            f"{count(purged.trees, 'tree')} of files. To free their room: ngshare storage gc"
        )
        return DONE

    def _purge(self, database: Database, items: Sequence[TrashItem], before: datetime) -> Purged:
        total = Purged()
        with Progress("Purging", len(items)) as progress:
            for keys in _portions([item.key for item in items]):
                total += database.write(purge.purge, self.caller, keys, before)
                progress.advance(len(keys))
        return total


def _portions(keys: Sequence[str]) -> Iterator[list[str]]:
    """What one transaction deletes: small items together, so that it is neither long nor slow."""
    small = [key for key in keys if key[0] in "mt"]
    for start in range(0, len(small), TOGETHER):
        yield small[start : start + TOGETHER]
    # What is in a course that goes as well was put before it in the list, or goes with it.
    for kind in "ac":
        yield from ([key] for key in keys if key[0] == kind)


def what(item: TrashItem) -> str:
    """Which item it is, in words."""
    if item.kind == "course":
        return f"course {item.course}, {count(item.submissions, 'submission')}"
    words = {
        "assignment": f"assignment {item.assignment}, {count(item.submissions, 'submission')}",
        "release": f"an old release of {item.assignment}",
        "feedback": f"old feedback on {item.assignment} of {item.user}",
        "replaced": "an old release or old feedback",
    }.get(item.kind, f"{item.kind} {item.user}")
    if item.submitted_at is not None:
        words += f" of {moment(item.submitted_at)}"
    return f"{item.course}: {words}"


def describe(item: TrashItem) -> str:
    """What it is, since when it is in the trash, and by whom."""
    verb = "removed" if item.key[0] in "cam" else "replaced"
    return f"{what(item)}, {verb} {moment(item.at)} by {item.by or 'somebody'}"


def moment(at: datetime) -> str:
    """A moment, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")

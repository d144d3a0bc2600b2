"""``ngshare trash``: list, restore and purge courses, assignments and trees in the trash."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from traitlets import Enum, Unicode

from ngshare.actions import audit, purge, trash, trash_restore
from ngshare.actions.purge import PurgeCounts
from ngshare.actions.trash import TrashItem
from ngshare.commands.base import EXIT_OK, SITE_ALIASES, YES_FLAG, Command
from ngshare.commands.formatting import format_count
from ngshare.db.progress_bar import ProgressBar
from ngshare.db.transactions import Database

BATCH_SIZE = 100
"""The number of members or replaced trees that one transaction purges."""


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
    aliases = {**SITE_ALIASES, "course": "List.course", "kind": "List.kind"}
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
            self.print_line(f"{item.key:<6} {describe(item)}")
        if not items:
            self.print_line("There is nothing of that in the trash.")
        return EXIT_OK


class Restore(Command):
    """Bring back what was removed or replaced, by its key in `ngshare trash list`.

    A course comes back with all that is in it, an assignment with its submissions. An old
    release or old feedback takes the place of the newer one, which is in the trash then.
    When a course of the same name exists, give the restored one another with --as.
    """

    name = Unicode("ngshare trash restore")
    usage = "KEY..."
    argument_count = (1, 1000)
    aliases = {**SITE_ALIASES, "as": "Restore.new_name"}
    examples = Unicode("""
    ngshare trash restore a7
    ngshare trash restore c3 --as "Physics 101 (2025)"
    """)

    new_name = Unicode(help="The restored course's name, when its own is taken").tag(config=True)

    def run(self) -> int:
        with self.open_database() as database:
            for key in self.arguments:
                item = database.write(
                    trash_restore.restore_item, self.caller, key, self.new_name or None
                )
                suffix = f", as {self.new_name}" if self.new_name else ""
                self.print_line(f"Restored {key}: {identify(item)}{suffix}")
        return EXIT_OK


class Purge(Command):
    """Delete for good what was removed or replaced more than 30 days ago (--days).

    Says what it will delete, and asks. A course goes with all that is in it, an assignment
    with its submissions. The rows go at once; `ngshare storage gc` then frees the room of
    their files. The audit log keeps what it tells of them.
    """

    name = Unicode("ngshare trash purge")
    aliases = {**SITE_ALIASES, "days": "Ngshare.keep_removed_days"}
    flags = YES_FLAG
    examples = Unicode("""
    ngshare trash purge
    ngshare trash purge --days 365 --yes       # every night, by cron
    """)

    def run(self) -> int:
        before = audit.now() - timedelta(days=self.keep_removed_days)
        age = f"more than {format_count(self.keep_removed_days, 'day')} ago"
        with self.open_database() as database:
            items = database.read(trash.list_trash, self.caller, before=before)
            if not items:
                self.print_line(f"Nothing to purge: nothing was removed {age}.")
                return EXIT_OK
            self.print_line(f"This will be deleted for good (removed {age}):")
            for item in items:
                self.print_line(f"  {item.key:<6} {describe(item)}")
            self.confirm("Delete all this for good?")
            purged = self._purge(database, items, before)
        self.print_line(
            f"Purged {format_count(purged.courses, 'course')}, "
            f"{format_count(purged.assignments, 'assignment')}, "
            f"{format_count(purged.submissions, 'submission')}, "
            f"{format_count(purged.members, 'member')} and "
            f"{format_count(purged.trees, 'tree')} of files. To free their room: ngshare storage gc"
        )
        return EXIT_OK

    def _purge(
        self, database: Database, items: Sequence[TrashItem], before: datetime
    ) -> PurgeCounts:
        """Purge the items in several transactions; return the number of rows of each kind."""
        total = PurgeCounts()
        with ProgressBar("Purging", len(items)) as progress:
            for keys in _batches([item.key for item in items]):
                total += database.write(purge.purge_items, self.caller, keys, before)
                progress.advance(len(keys))
        return total


def _batches(keys: Sequence[str]) -> Iterator[list[str]]:
    """Yield the keys that one transaction purges: small items together, large ones alone."""
    small = [key for key in keys if key[0] in "mt"]
    for start in range(0, len(small), BATCH_SIZE):
        yield small[start : start + BATCH_SIZE]
    # Assignments before courses: the purge of a course deletes its assignments, too.
    for kind in "ac":
        yield from ([key] for key in keys if key[0] == kind)


def identify(item: TrashItem) -> str:
    """Return the course of an item, and the item itself, in words."""
    submissions = format_count(item.submissions, "submission")
    if item.kind == "course":
        return f"course {item.course}, {submissions}"
    words = {
        "assignment": f"assignment {item.assignment}, {submissions}",
        "release": f"an old release of {item.assignment}",
        "feedback": f"old feedback on {item.assignment} of {item.user}",
        "replaced": "an old release or old feedback",
    }.get(item.kind, f"{item.kind} {item.user}")
    if item.submitted_at is not None:
        words += f" of {format_moment(item.submitted_at)}"
    return f"{item.course}: {words}"


def describe(item: TrashItem) -> str:
    """Return an item in words, with the time of its removal and the user who removed it."""
    verb = "removed" if item.key[0] in "cam" else "replaced"
    return f"{identify(item)}, {verb} {format_moment(item.at)} by {item.by or 'somebody'}"


def format_moment(at: datetime) -> str:
    """Return a time (UTC) in words, to the second."""
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")

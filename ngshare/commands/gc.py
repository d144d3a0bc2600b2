"""``ngshare storage gc`` and ``restore-quarantine``: collect unreferenced files, and undo that."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from traitlets import Integer, Unicode

from ngshare.admin.garbage_collection import (
    CollectionReport,
    collect_garbage,
    list_aside_databases,
    list_upgrade_backups,
    references_no_blob,
)
from ngshare.blobs import Amount, ManagedBlobStore, gc
from ngshare.blobs.gc import SHARDS
from ngshare.commands.base import EXIT_OK, SITE_ALIASES, YES_FLAG, Command, CommandError
from ngshare.commands.formatting import format_count, format_size, pluralize
from ngshare.commands.storage import describe_amount
from ngshare.db.progress_bar import ProgressBar
from ngshare.db.transactions import Database
from ngshare.files import Locked, file_lock

LOCK_FILE = "quarantine.lock"
"""The file in the storage that commands lock while they move files to or from the quarantine."""


class Gc(Command):
    """Move the files that nothing names into the quarantine, and delete them days later.

    Files become unnamed when `ngshare trash purge` removes what named them, or when an
    upload is interrupted. They are moved into the folder `quarantine` of the storage, and
    deleted from there by a gc that runs seven days later (--days), if nothing names them
    then. Whoever needs one before that gets it back from there, so this can run beside
    uploads. Removes what interrupted uploads left, too. Says what it will do, and asks.
    """

    name = Unicode("ngshare storage gc")
    aliases = {**SITE_ALIASES, "hours": "Gc.hours", "days": "Gc.days"}
    flags = YES_FLAG
    examples = Unicode("""
    ngshare storage gc
    ngshare storage gc --yes                   # every night, by cron
    ngshare storage gc --yes --days 0          # free what was moved more than an hour or two ago
    """)

    hours = Integer(24, min=0, help="Move only what is older than so many hours").tag(config=True)
    days = Integer(
        gc.DAYS, min=0, help="Delete what has been in the quarantine for so many days"
    ).tag(config=True)

    def run(self) -> int:
        store, storage = self.open_storage(), Path(self.storage)
        with self.open_database() as database:
            old = [*list_aside_databases(storage), *list_upgrade_backups(database)]
            plan = self._collect("Looking for unnamed files", database, store, old, dry=True)
            self._print_plan(plan, old, database)
            if not _count_changes(plan):
                return EXIT_OK
            if references_no_blob(database, store):
                self._require_confirmation(database)
            self.confirm("Go on?")
            with lock_quarantine(storage):
                report = self._collect("Collecting", database, store, old, dry=False)
        self._print_report(report)
        return EXIT_OK

    def _collect(
        self,
        title: str,
        database: Database,
        store: ManagedBlobStore,
        old: Sequence[Path],
        *,
        dry: bool,
    ) -> CollectionReport:
        with ProgressBar(title, SHARDS) as progress:
            return collect_garbage(
                database,
                store,
                hours=self.hours,
                days=self.days,
                advance=progress.advance,
                old_databases=old,
                dry=dry,
            )

    def _require_confirmation(self, database: Database) -> None:
        """Warn that the database is probably another site's. Raises CommandError with --yes."""
        text = (
            f"{database} names not one file in {self.storage}: is it the database of these files?"
        )
        if self.yes:
            raise CommandError(f"{text} If so, run this without --yes, and confirm")
        self.print_line(text)

    def _print_plan(self, plan: CollectionReport, old: Sequence[Path], database: Database) -> None:
        """Print a planned collection, and the old files that it keeps."""
        age = f" older than {format_count(self.hours, 'hour')}"
        if plan.needed_by_old.files:
            self._print_amount(
                plan.needed_by_old,
                age,
                ("is", "are"),
                "kept for databases that restores put aside or upgrades backed up. Remove what "
                "you do not want to go back to:",
            )
            for path in old:
                self.print_line(f"  {path}")
        self._print_amount(
            plan.newer_than_log,
            age,
            ("is", "are"),
            f"kept, though named by nothing: newer than all that {database} knows. Is it an old "
            "copy of the site's database?",
        )
        self._print_amount(
            plan.moved,
            age,
            ("is", "are"),
            f"named by nothing in {database} and will be moved to the quarantine.",
        )
        self._print_amount(
            plan.put_back,
            " in the quarantine",
            ("is", "are"),
            "named again and will be moved back.",
        )
        self._print_amount(
            plan.deleted,
            "",
            ("has", "have"),
            f"been in the quarantine for {format_count(self.days, 'day')} and will be deleted "
            "for good.",
        )
        self._print_amount(
            plan.leftovers, " of interrupted uploads", ("will", "will"), "be removed."
        )
        if not _count_changes(plan):
            self.print_line(f"Nothing to collect: no file that nothing names is{age}.")

    def _print_amount(
        self, amount: Amount, qualifier: str, verbs: tuple[str, str], predicate: str
    ) -> None:
        """Print a sentence whose subject is an amount of files; nothing when there are none.

        ``verbs`` are the singular and the plural of the verb.
        """
        if amount.files:
            verb = pluralize(amount.files, *verbs)
            self.print_line(f"{describe_amount(amount)}{qualifier} {verb} {predicate}")

    def _print_report(self, report: CollectionReport) -> None:
        """Print a finished collection."""
        clauses = []
        for amount, clause in (
            (report.moved, "moved {} to the quarantine"),
            (report.put_back, "moved {} back"),
            (report.deleted, "deleted {}"),
            (report.leftovers, "removed {} of interrupted uploads"),
        ):
            if amount.files:
                files = f"{format_count(amount.files, 'file')}, {format_size(amount.bytes)}"
                clauses.append(clause.format(files))
        text = "; ".join(clauses) or "nothing was left to do"
        self.print_line(f"{text[0].upper()}{text[1:]}.")


def _count_changes(report: CollectionReport) -> int:
    """Return the number of files that a collection moves, deletes or removes."""
    amounts = (report.moved, report.deleted, report.put_back, report.leftovers)
    return sum(amount.files for amount in amounts)


class RestoreQuarantine(Command):
    """Move every file in the quarantine back to its place.

    It undoes what `ngshare storage gc` did with the wrong database, as long as that has not
    deleted the files: then nobody missed any, for a file that somebody needs is moved back
    when it is read. The next gc moves again what nothing names.
    """

    name = Unicode("ngshare storage restore-quarantine")
    examples = Unicode("""
    ngshare storage restore-quarantine
    """)

    def run(self) -> int:
        store = self.open_storage()
        with lock_quarantine(Path(self.storage)):
            moved = gc.put_back_all(store)
        self.print_line(
            f"Moved {format_count(moved.files, 'file')}, {format_size(moved.bytes)}, back."
        )
        return EXIT_OK


@contextmanager
def lock_quarantine(storage: Path) -> Iterator[None]:
    """Exclude other commands that move files to or from the quarantine of a storage folder.

    A blob that is in its place and in the quarantine could be lost otherwise: one command deletes
    the copy in the quarantine just after another has moved the blob over it. Raises CommandError
    when another command holds the lock.
    """
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(storage / LOCK_FILE, wait=False))
        except Locked:
            raise CommandError(
                f"another gc or restore-quarantine is running in {storage}: wait for it"
            ) from None
        except OSError:
            pass  # gc must work on a full disk, and where there are no locks
        yield

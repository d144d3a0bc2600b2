"""``ngshare storage``: check the files, and remove those that nothing names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from traitlets import Bool, Integer, Unicode

from ngshare import belonging
from ngshare.actions import legacy, storage
from ngshare.actions.storage import Collected, Damage, Report, Use
from ngshare.blobs import LocalBlobs
from ngshare.blobs.sweep import SHARDS
from ngshare.commands.base import (
    DAMAGE,
    DONE,
    SETTINGS,
    YES,
    Command,
    CommandError,
    agree,
    count,
    size,
)
from ngshare.database import Database
from ngshare.progress import Progress
from ngshare.startup import leave_mark
from ngshare.wire import format_time


class Storage(Command):
    """Check the files that the site keeps, and remove those that nothing names any more."""

    name = Unicode("ngshare storage")
    subcommands = {
        "check": ("ngshare.commands.storage.Check", "Read every file, and find damage"),
        "gc": ("ngshare.commands.storage.Gc", "Remove files that nothing names"),
        "remove-legacy": (
            "ngshare.commands.legacy.RemoveLegacy",
            "Remove the old names of files that were adopted from ngshare 0.6",
        ),
    }
    examples = Unicode("""
    ngshare storage check
    """)


class Check(Command):
    """Read every file in the storage, and compare it with what the database says of it.

    Finds files that are missing, changed, or not what their rows say, and says whose
    they are. It changes nothing, and uploads go on meanwhile. Ends with exit code 0 when
    all is well, 2 when there is damage, 1 when it could not look.
    """

    name = Unicode("ngshare storage check")
    examples = Unicode("""
    ngshare storage check
    ngshare storage check --database sqlite:////srv/ngshare/ngshare.db --storage /srv/ngshare/files
    """)

    def run(self) -> int:
        store = self.open_storage()
        progress = Progress("Checking the storage", SHARDS)
        with self.open_database() as database, self.kept_still(store), progress:
            report = storage.check(database, store, progress.advance)
        self._tell(report, store)
        if left := legacy.list_files(Path(self.storage)):
            self.say(
                f"{count(len(left), 'file is', 'files are')} there under a name of ngshare 0.6, "
                "for the way back to it: ngshare storage remove-legacy removes "
                f"{agree(len(left), 'it', 'them')}."
            )
        return DAMAGE if report.damage else DONE

    def _tell(self, report: Report, store: LocalBlobs) -> None:
        for damage in report.damage:
            self._tell_damage(damage)
        if report.lost_count:
            self.say(
                f"{count(report.lost_count, 'file had lost its', 'files had lost their')} bytes "
                "before this site was adopted from ngshare 0.6; that is known, and no new damage:"
            )
            self._tell_uses(report.lost, report.lost_count)
        if report.strangers:
            number = len(report.strangers)
            verb = agree(number, "is", "are")
            self.say(f"{count(number, 'file')} in {store.folder} {verb} not ngshare's:")
            for path in report.strangers[:5]:
                self.say(f"  {path}")
        if report.unnamed.files:
            self.say(
                f"{count(report.unnamed.files, 'file')} ({size(report.unnamed.bytes)}) "
                f"{agree(report.unnamed.files, 'is', 'are')} named by nothing, or not yet: "
                "ngshare storage gc removes those that are old."
            )
        self.say(
            f"Read {count(report.files, 'file')}, {size(report.bytes)}: "
            + (f"{len(report.damage):,} DAMAGED." if report.damage else "no damage.")
        )
        if report.damage:
            self.say(
                "Get damaged files back from a backup: copy each to the path named above, from "
                "the same path below the backup's folder, then check again. Without a backup: "
                "whoever has the same file can hand it in or release it again, after the damaged "
                "one was moved away. See docs/backup.md."
            )

    def _tell_damage(self, damage: Damage) -> None:
        self.say(f"DAMAGED {damage.file}: {damage.what}")
        if damage.times:
            self._tell_uses(damage.uses, damage.times)
        else:
            self.say("  Nothing names it; move it away, else equal content would count on it.")

    def _tell_uses(self, uses: list[Use], times: int) -> None:
        for use in uses:
            self.say(f"  {describe(use)}")
        if times > len(uses):
            self.say(f"  and {times - len(uses):,} more")


def describe(use: Use) -> str:
    """Where a file is named, in words."""
    words = [f"course {use.course}"]
    if use.assignment is not None:
        words.append(f"assignment {use.assignment}")
    if use.student is not None:
        words.append(f"{'old feedback' if use.kind == 'replaced' else use.kind} of {use.student}")
    elif use.kind == "replaced":
        words.append("an old release" if use.assignment else "an old release or feedback")
    else:
        words.append(use.kind)
    if use.submitted_at is not None:
        words.append(f"handed in {format_time(use.submitted_at)}")
    words.append(f"file {use.path}")
    return ", ".join(words) + (" (in the trash)" if use.removed else "")


class Gc(Command):
    """Remove the files that nothing names, and what interrupted uploads left behind.

    Files become unnamed when `ngshare trash purge` removes what named them, or when an
    upload is interrupted. Only files that are older than a day are removed (--hours), so
    that it can run beside uploads: none of theirs is that old. Says what it will remove,
    and asks.
    """

    name = Unicode("ngshare storage gc")
    aliases = {**SETTINGS, "hours": "Gc.hours"}
    flags = {
        **YES,
        "even-all": (
            {"Gc": {"even_all": True}},
            "Also when the database names no file of the storage at all: it may be the wrong one",
        ),
        "take-over": (
            {"Gc": {"take_over": True}},
            "Also when ngshare last started with another database on these files: they belong to "
            "this one from now on, and what only the other one names is removed",
        ),
    }
    examples = Unicode("""
    ngshare storage gc
    ngshare storage gc --yes --hours 48        # every night, by cron
    """)

    hours = Integer(
        24, min=int(storage.LEAST_AGE // 3600), help="Remove only what is older than so many hours"
    ).tag(config=True)
    even_all = Bool(False, help="Also when the database names no file of the storage at all").tag(
        config=True
    )

    take_over = Bool(False, help="Also when the files belong to another database").tag(config=True)

    def run(self) -> int:
        store = self.open_storage()
        with self.open_database() as database, self.kept_still(store, alone=True):
            self._refuse_others(database, store)
            old = [*storage.put_aside(store), *storage.backups_beside(database)]
            found = self._collect("Looking for unnamed files", database, store, old, remove=False)
            self._tell(found, old, database)
            if not found.removed.files:
                return DONE
            if not self.even_all and storage.names_none(database, store):
                raise CommandError(
                    f"{database} names not one file in {self.storage}: is it the database of "
                    "these files? If so, add --even-all"
                )
            self.confirm("Remove them for good?")
            if self.take_over:
                leave_mark(database.url, store)
            removed = self._collect("Removing", database, store, old, remove=True).removed
        self.say(f"Removed {count(removed.files, 'file')}, {size(removed.bytes)}.")
        return DONE

    def _refuse_others(self, database: Database, store: LocalBlobs) -> None:
        mark, this = belonging.read_mark(store), belonging.mark_of(database.url, store)
        if mark is not None and mark.key != this.key and not self.take_over:
            raise CommandError(
                f"the files in {self.storage} belong to the database {mark.shown}, with which "
                f"ngshare last started, not to {this.shown}: name that one with --database, or if "
                "this is the right one, start ngshare with it once, or add --take-over"
            )

    def _tell(
        self,
        collected: Collected,
        old: Sequence[Path],
        database: Database,
    ) -> None:
        age = f"older than {count(self.hours, 'hour')}"
        found, kept = collected.removed, collected.kept_for_old
        if kept.files:
            self.say(
                f"{count(kept.files, 'file')} ({size(kept.bytes)}) {age} "
                f"{agree(kept.files, 'is', 'are')} kept for databases "
                "that restores put aside or upgrades backed up. Remove what you do not want to go "
                "back to:"
            )
            for path in old:
                self.say(f"  {path}")
        if found.files:
            what = f"{count(found.files, 'file')} ({size(found.bytes)})"
            verb = agree(found.files, "is", "are")
            self.say(f"{what} {age} {verb} named by nothing in {database}.")
            self.say(f"{count(found.files, 'file')} will be removed.")
        else:
            self.say(f"Nothing to remove: no file that nothing names is {age}.")

    def _collect(
        self,
        what: str,
        database: Database,
        store: LocalBlobs,
        old: Sequence[Path],
        *,
        remove: bool,
    ) -> Collected:
        with Progress(what, SHARDS) as progress:
            return storage.collect(
                database, store, self.hours * 3600, progress.advance, old=old, remove=remove
            )

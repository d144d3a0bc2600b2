"""``ngshare storage`` and ``ngshare storage check``: find damaged and missing files."""

from __future__ import annotations

from pathlib import Path

from traitlets import Unicode

from ngshare.admin.legacy_files import list_legacy_files
from ngshare.admin.references import Reference
from ngshare.admin.storage_check import CheckReport, Damage, check_storage
from ngshare.blobs import Amount
from ngshare.blobs.gc import SHARDS
from ngshare.commands.base import EXIT_DAMAGE, EXIT_OK, Command
from ngshare.commands.formatting import format_count, format_size, pluralize
from ngshare.db.progress_bar import ProgressBar
from ngshare.protocol.times import format_time

MAX_FOREIGN_FILES = 5
"""The number of foreign files that are listed."""


class Storage(Command):
    """Check the files that the site keeps, and collect those that nothing names any more."""

    name = Unicode("ngshare storage")
    subcommands = {
        "check": ("ngshare.commands.storage.Check", "Read every file, and find damage"),
        "gc": (
            "ngshare.commands.gc.Gc",
            "Move files that nothing names into the quarantine, and delete those there for long",
        ),
        "restore-quarantine": (
            "ngshare.commands.gc.RestoreQuarantine",
            "Move all files in the quarantine back, after a gc with the wrong database",
        ),
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
    they are. Files in the quarantine that the database names are moved back; it changes nothing
    else, and uploads go on meanwhile. Ends with exit code 0 when all is well, 2 when there is
    damage, 1 when it could not look.
    """

    name = Unicode("ngshare storage check")
    examples = Unicode("""
    ngshare storage check
    ngshare storage check --database sqlite:////srv/ngshare/ngshare.db --storage /srv/ngshare/files
    """)

    def run(self) -> int:
        store = self.open_storage()
        progress = ProgressBar("Checking the storage", SHARDS)
        with self.open_database() as database, progress:
            report = check_storage(database, store, progress.advance)
        self._print_report(report)
        if legacy := list_legacy_files(Path(self.storage)):
            self.print_line(
                f"{format_count(len(legacy), 'file is', 'files are')} there under a name of "
                "ngshare 0.6, for the way back to it: ngshare storage remove-legacy removes "
                f"{pluralize(len(legacy), 'it', 'them')}."
            )
        return EXIT_DAMAGE if report.damage else EXIT_OK

    def _print_report(self, report: CheckReport) -> None:
        for damage in report.damage:
            self._print_damage(damage)
        if report.lost_count:
            self.print_line(
                f"{format_count(report.lost_count, 'file had lost its', 'files had lost their')} "
                "bytes before this site was adopted from ngshare 0.6; that is known, and no new "
                "damage:"
            )
            self._print_references(report.lost, report.lost_count)
        if report.foreign_files:
            number = len(report.foreign_files)
            verb = pluralize(number, "is", "are")
            self.print_line(
                f"{format_count(number, 'file')} in {self.storage} {verb} not ngshare's:"
            )
            for location in report.foreign_files[:MAX_FOREIGN_FILES]:
                self.print_line(f"  {location}")
        if report.unreferenced.files:
            self.print_line(
                f"{describe_amount(report.unreferenced)} "
                f"{pluralize(report.unreferenced.files, 'is', 'are')} named by nothing, or not "
                "yet: ngshare storage gc collects those that are old."
            )
        if report.put_back:
            self.print_line(
                f"{format_count(report.put_back, 'file was', 'files were')} in the quarantine, "
                f"though the database names {pluralize(report.put_back, 'it', 'them')}: moved "
                "back. Did ngshare storage gc run with another database?"
            )
        if report.quarantined.files:
            self.print_line(
                f"{describe_amount(report.quarantined)} "
                f"{pluralize(report.quarantined.files, 'is', 'are')} in the quarantine, where "
                "ngshare storage gc moved what nothing named."
            )
        self.print_line(
            f"Read {format_count(report.files, 'file')}, {format_size(report.bytes)}: "
            + (f"{len(report.damage):,} DAMAGED." if report.damage else "no damage.")
        )
        if report.damage:
            self.print_line(
                "Get damaged files back from a backup: copy each to the path named above, from "
                "the same path below the backup's folder, then check again. Without a backup: "
                "whoever has the same file can hand it in or release it again, after the damaged "
                "one was moved away. See docs/backup.md."
            )

    def _print_damage(self, damage: Damage) -> None:
        self.print_line(f"DAMAGED {damage.location}: {damage.problem}")
        if damage.reference_count:
            self._print_references(damage.references, damage.reference_count)
        else:
            self.print_line(
                "  Nothing names it; move it away, else equal content would count on it."
            )

    def _print_references(self, references: list[Reference], total: int) -> None:
        """Print some references, one on a line, and how many of the total are not shown."""
        for reference in references:
            self.print_line(f"  {describe(reference)}")
        if total > len(references):
            self.print_line(f"  and {total - len(references):,} more")


def describe_amount(amount: Amount) -> str:
    """Return a number of files with their size: ``2 files (1.5 kB)``."""
    return f"{format_count(amount.files, 'file')} ({format_size(amount.bytes)})"


def describe(reference: Reference) -> str:
    """Return a reference in words: course, assignment, kind of tree, student, time and path."""
    is_replaced = reference.kind == "replaced"
    words = [f"course {reference.course}"]
    if reference.assignment is not None:
        words.append(f"assignment {reference.assignment}")
    if reference.student is not None:
        words.append(f"{'old feedback' if is_replaced else reference.kind} of {reference.student}")
    elif is_replaced:
        words.append("an old release" if reference.assignment else "an old release or feedback")
    else:
        words.append(reference.kind)
    if reference.submitted_at is not None:
        words.append(f"handed in {format_time(reference.submitted_at)}")
    words.append(f"file {reference.path}")
    return ", ".join(words) + (" (in the trash)" if reference.removed else "")

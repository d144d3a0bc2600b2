"""``ngshare storage remove-legacy``: remove the names that files had in ngshare 0.6."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from traitlets import Bool, Unicode

from ngshare.admin import legacy_files
from ngshare.admin.legacy_files import LegacyFile, LegacyFiles
from ngshare.commands.base import EXIT_OK, YES_FLAG, Command, CommandError
from ngshare.commands.formatting import format_count, format_size, pluralize
from ngshare.db.progress_bar import ProgressBar

MAX_NAMES = 20
"""The number of files of a kind that are listed."""


class RemoveLegacy(Command):
    """Remove the names that the files of an adopted site had in ngshare 0.6.

    A site of ngshare 0.6 keeps them when it is adopted, beside the blobs of the same bytes, so
    that `ngshare db revert` leads back to it. After this command nothing does. Reads each of the
    files, and removes it only when its blob holds just these bytes. Says what it will remove,
    and asks.
    """

    name = Unicode("ngshare storage remove-legacy")
    flags = {
        **YES_FLAG,
        "orphans": (
            {"RemoveLegacy": {"orphans": True}},
            "Also the files of ngshare 0.6 that belong to nothing, which are nowhere else",
        ),
    }
    examples = Unicode("""
    ngshare storage remove-legacy
    ngshare storage remove-legacy --orphans
    """)

    orphans = Bool(False, help="Also the files of ngshare 0.6 that belong to nothing").tag(
        config=True
    )

    def run(self) -> int:
        store = self.open_storage()
        with self.open_database() as database:
            files = legacy_files.list_legacy_files(Path(self.storage))
            with ProgressBar("Reading the files of ngshare 0.6", len(files)) as progress:
                sorted_files = legacy_files.sort_legacy_files(
                    database, store, files, progress.advance
                )
            if (
                self.orphans
                and sorted_files.orphans
                and not database.read(legacy_files.was_adopted)
            ):
                raise CommandError(
                    f"{database} was not adopted from ngshare 0.6, so nobody knows whose these "
                    "files are: name the right one with --database"
                )
            self._print_plan(sorted_files)
            removable = [*sorted_files.adopted, *(sorted_files.orphans if self.orphans else [])]
            if not removable:
                self.print_line("Nothing to remove.")
                return EXIT_OK
            self.confirm("Remove them for good? There is no way back to ngshare 0.6 then.")
            for file in removable:
                file.path.unlink(missing_ok=True)
        self.print_line(
            f"Removed {format_count(len(removable), 'file')}, "
            f"{format_size(_freed_bytes(removable))} freed."
        )
        return EXIT_OK

    def _print_plan(self, files: LegacyFiles) -> None:
        """Print the files that will be removed, and those that will not."""
        if files.adopted:
            self.print_line(
                f"{format_count(len(files.adopted), 'file')} of ngshare 0.6 "
                f"{pluralize(len(files.adopted), 'is a blob', 'are blobs')} as well, and will be "
                f"removed under the old {pluralize(len(files.adopted), 'name', 'names')}. That "
                f"frees {format_size(_freed_bytes(files.adopted))}: only copies take room, not "
                "hard links."
            )
        if files.needed:
            self.print_line(
                f"{format_count(len(files.needed), 'file')} will be kept: the database names "
                f"{pluralize(len(files.needed), 'it', 'them')}, and the blob is missing or damaged "
                "(see ngshare storage check):"
            )
            self._print_names(files.needed)
        if files.orphans:
            number, total_size = len(files.orphans), sum(file.size for file in files.orphans)
            plan = "will be removed" if self.orphans else "will be kept, but with --orphans"
            self.print_line(
                f"{format_count(number, 'file')} ({format_size(total_size)}) of ngshare 0.6 "
                f"{pluralize(number, 'belongs', 'belong')} to nothing, and {plan}:"
            )
            self._print_names(files.orphans)

    def _print_names(self, files: Sequence[LegacyFile]) -> None:
        for file in files[:MAX_NAMES]:
            self.print_line(f"  {file.path} ({format_size(file.size)})")
        if len(files) > MAX_NAMES:
            self.print_line(f"  and {len(files) - MAX_NAMES:,} more")


def _freed_bytes(files: Sequence[LegacyFile]) -> int:
    """Return the disk space that removing these files frees; a hard link takes none."""
    return sum(file.size for file in files if not file.linked)

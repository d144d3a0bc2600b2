"""``ngshare export``: export a course into one zip archive."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from sqlalchemy import Connection
from traitlets import Unicode

from ngshare.actions import audit
from ngshare.admin.export import ExportReport, export_course, require_exportable
from ngshare.commands.base import (
    EXIT_DAMAGE,
    EXIT_OK,
    SITE_ALIASES,
    YES_FLAG,
    Command,
    CommandError,
)
from ngshare.commands.formatting import format_count, format_size
from ngshare.files import durable_rename
from ngshare.protocol.portable_paths import portable_name


class Export(Command):
    """Pack everything of a course into one zip archive.

    Its roster, what was released, each submission with its feedback, what newer releases
    and feedback replaced, and its audit log, also what is in the trash, with an index.html
    to look at and index.json for programs. A course that is in the trash itself is named by
    its key there, as `ngshare trash list` shows it. It is one consistent state, also while
    the service runs. The archive appears under its name when it is complete. With
    `--output -` it goes to standard output.
    """

    name = Unicode("ngshare export")
    usage = "COURSE"
    argument_count = (1, 1)
    aliases = {**SITE_ALIASES, "output": "Export.output"}
    flags = YES_FLAG
    examples = Unicode("""
    ngshare export "Physics 101"
    ngshare export c3                     # in the trash, before it is purged
    ngshare export "Physics 101" --output /backup/physics.zip --yes
    ngshare export "Physics 101" --output - | ssh archive 'cat > physics.zip'
    """)

    output = Unicode(
        help="The archive's file; without it COURSE-DATE.zip in this folder; -: standard output"
    ).tag(config=True)

    def run(self) -> int:
        course = self.arguments[0]
        store = self.open_storage()
        day = audit.now().strftime("%Y-%m-%d")
        with (
            self.open_database() as database,
            self.show_progress("Exporting") as start_progress,
            ExitStack() as stack,
        ):
            name = database.read(require_exportable, self.caller, course).name
            path = Path(self.output or f"{portable_name(name)}-{day}.zip")
            target = stack.enter_context(self._open_target(path))

            def write(connection: Connection) -> ExportReport:
                if self.output != "-":  # a retried transaction writes a second time
                    target.seek(0)
                    target.truncate()
                return export_course(connection, self.caller, course, store, target, start_progress)

            report = database.read(write)
        destination = "standard output" if self.output == "-" else str(path)
        trees = [
            format_count(report.assignments, "assignment"),
            format_count(report.submissions, "submission"),
        ]
        trees += [format_count(report.replaced, "replaced tree")] if report.replaced else []
        self._print_summary(
            f"Exported {', '.join(trees[:-1])} and {trees[-1]} to {destination}: "
            f"{format_count(report.files, 'file')}, {format_size(report.bytes)}."
        )
        if report.lost:
            lost = format_count(report.lost, "file had lost its", "files had lost their")
            self._print_summary(f"{lost} bytes before ngshare 1.0.")
        if not report.damaged:
            return EXIT_OK
        self._print_summary(
            f"{format_count(report.damaged, 'file is', 'files are')} missing or damaged: "
            "files.csv and ngshare storage check say which."
        )
        return EXIT_DAMAGE

    def _print_summary(self, text: str) -> None:
        """Print a line; to standard error when the archive goes to standard output."""
        print(text, file=sys.stderr if self.output == "-" else sys.stdout, flush=True)

    @contextmanager
    def _open_target(self, path: Path) -> Iterator[IO[bytes]]:
        """Open the file to write the archive to; it gets its name when it is complete.

        Raises CommandError when it may not be written.
        """
        if self.output == "-":
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
            return
        if path.is_dir():
            raise CommandError(f"{path} is a folder: name a file with --output")
        if path.exists():
            print(f"{path} exists already.", flush=True)
            self.confirm("Replace it?")
        temporary = path.with_name(f"{path.name}.part")
        try:
            # Other users of this machine must not read what students submitted.
            descriptor = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                yield file
            durable_rename(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

"""``nbgrader release_assignment``: send the student version of an assignment to the service."""

from __future__ import annotations

from pathlib import Path

from nbgrader.exchange import abc

from ngshare.exchange.local_trees import scan_tree
from ngshare.exchange.plugin.instructor import InstructorExchange
from ngshare.exchange.service_error import ServiceError


class ExchangeReleaseAssignment(
    InstructorExchange,
    abc.ExchangeReleaseAssignment,  # type: ignore[misc]  # nbgrader is untyped
):
    """Release an assignment. With ``force`` a released one is replaced, at once or not at all."""

    def init_src(self) -> None:
        """Find the folder that ``nbgrader generate_assignment`` wrote."""
        super().init_src()
        coursedir = self.coursedir
        self.src_path = coursedir.format_path(coursedir.release_directory, ".", self.assignment)
        if Path(self.src_path).is_dir():
            return
        source = coursedir.format_path(coursedir.source_directory, ".", self.assignment)
        if Path(source).is_dir():
            self.fail(
                f"Assignment found in '{source}' but not '{self.src_path}', run `nbgrader "
                "generate_assignment` first."
            )
        siblings = Path(self.src_path).parent.glob("*")
        self.suggest(self.assignment, [folder.name for folder in siblings if folder.is_dir()])
        self.fail(f"Assignment not found at: {self.src_path}")

    def copy_files(self) -> None:
        """Send the files that the service lacks, and make the assignment visible."""
        coursedir = self.coursedir
        tree = scan_tree(
            Path(self.src_path),
            ignore=coursedir.ignore,
            include=coursedir.include,
            max_file_size=coursedir.max_file_size,
            max_dir_size=coursedir.max_dir_size,
        )
        self.log.info("Source: %s", self.src_path)
        self.log.info("Destination: %s", self.client.address.url)
        try:
            self.client.release(self.course, self.assignment, tree, replace=self.force)
        except ServiceError as error:
            if error.status == 409 and not self.force:
                self.fail(
                    "Destination already exists, add --force to overwrite: "
                    f"{self.course} {self.assignment}"
                )
            raise
        self.log.info("Released as: %s %s", self.course, self.assignment)

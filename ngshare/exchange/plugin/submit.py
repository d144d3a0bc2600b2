"""``nbgrader submit``: hand in an assignment, and keep a copy and the receipt on this computer."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from nbgrader.apps import SubmitApp
from nbgrader.exchange import abc

from ngshare.exchange.client import Submitted
from ngshare.exchange.local_trees import LocalTree, scan_tree
from ngshare.exchange.plugin.base import Exchange, describe_os_error
from ngshare.exchange.plugin.submission_cache import OWN_FOLDER, SECRET_FILE, TIMESTAMP_FILE
from ngshare.exchange.temporary_folders import temporary_folder
from ngshare.protocol.overview import AssignmentInfo, SubmissionInfo

RESERVED = (TIMESTAMP_FILE, SECRET_FILE)
"""Names at the top of a submission in which nbgrader stores facts about it."""


class ExchangeSubmit(Exchange, abc.ExchangeSubmit):  # type: ignore[misc]  # nbgrader is untyped
    """Submit the student's folder of an assignment.

    A repeated command makes one submission, if the one before it was interrupted and no file has
    changed since: both send the same idempotency key.
    """

    def init_src(self) -> None:
        """Decide on the course and the folder; nbgrader calls this first."""
        self.course = self.require_course("student")
        self.src_path = self.assignment_folder(self.course, self.coursedir.assignment_id)
        self.assignment = self.coursedir.assignment_id = self.src_path.name
        if not self.src_path.is_dir():
            folders = (path.name for path in self.src_path.parent.glob("*") if path.is_dir())
            self.suggest(self.assignment, folders)
            self.fail(f"Assignment not found at: {self.src_path}")
        self.require_folder_of_course(self.src_path, self.course)

    def init_dest(self) -> None:
        """Ask the service for the assignment and for the user's name."""
        overview = self.client.overview(self.course, self.assignment)
        student = self.coursedir.student_id
        if student not in ("", "*", overview.user):
            self.fail(
                f"ngshare records what you submit under your own name, '{overview.user}', and not "
                f"under '{student}'. Run the command again without --student."
            )
        self.student = overview.user
        for course in overview.courses:
            for assignment in course.assignments:
                if assignment.name == self.assignment:
                    self.release: AssignmentInfo = assignment
                    return
        self.fail(f"Assignment not found: {self.assignment} in course {self.course}")

    def copy_files(self) -> None:
        """Copy the files, send the copy, and keep it with the receipt in the cache."""
        self.log.info("Source: %s", self.src_path)
        self.log.info("Destination: %s", self.client.address.url)
        with temporary_folder(Path(self.cache) / OWN_FOLDER) as folder:
            tree = self._copy_tree(folder / "tree")
            self._compare_notebooks(tree)
            if not self._confirm_unchanged(tree.digest):
                self.log.warning("Not submitted again.")
                return
            submitted = self._submit(tree)
            self.log.info(
                "Submitted as: %s %s %s", self.course, self.assignment, submitted.timestamp
            )
            try:
                self._keep(tree, submitted)
            except OSError as error:
                # It is submitted. A name may be too long for a folder, or the disk full.
                self.log.warning("No copy was kept in the cache: %s", describe_os_error(error))
        self.submission_cache.forget_key(self.course, self.assignment, self.student)

    def _copy_tree(self, destination: Path) -> LocalTree:
        """Copy the files that nbgrader's filters let through, and return the copy.

        The student's files may change while they are sent; the copy does not.
        """
        coursedir = self.coursedir
        source = scan_tree(
            self.src_path,
            ignore=coursedir.ignore,
            include=coursedir.include,
            max_file_size=coursedir.max_file_size,
            max_dir_size=coursedir.max_dir_size,
        )
        destination.mkdir()
        for file in source.files:
            if file.path in RESERVED:
                self.log.warning(
                    "'%s' is not handed in: nbgrader keeps its own facts in a file of that name.",
                    file.path,
                )
                continue
            if file.path.partition("/")[0] in RESERVED:
                self.fail(
                    f"Rename the folder '{file.path.partition('/')[0]}', and submit again: "
                    "nbgrader needs a file of that name."
                )
            target = destination / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file.absolute, target)
        return scan_tree(destination)

    def _compare_notebooks(self, tree: LocalTree) -> None:
        """Compare the notebooks with those of the release; with ``strict``, fail if one lacks."""
        released = sorted(self.release.notebooks)
        submitted = sorted(file.path for file in tree.files if file.path.endswith(".ipynb"))
        if released == submitted:
            return
        expected = [f"{p}: {'FOUND' if p in submitted else 'MISSING'}" for p in released]
        actual = [f"{p}: {'OK' if p in released else 'EXTRA'}" for p in submitted]
        difference = "Expected:\n\t{}\nSubmitted:\n\t{}".format(
            "\n\t".join(expected), "\n\t".join(actual)
        )
        if self.strict and not set(released) <= set(submitted):
            self.fail(
                f"Assignment {self.assignment} not submitted. "
                f"There are missing notebooks for the submission:\n{difference}"
            )
        self.log.warning(
            "Possible missing notebooks and/or extra notebooks submitted for assignment %s:\n%s",
            self.assignment,
            difference,
        )

    def _confirm_unchanged(self, digest: str) -> bool:
        """Return False if the user does not want to submit the files of the latest submission."""
        latest = self._latest()
        if not latest or latest.digest != digest:
            return True
        if self.submission_cache.pending_key(self.course, self.assignment, self.student, digest):
            return True  # this repeats a command that was interrupted
        self.log.warning(
            "These files are byte for byte those of your latest submission, at %s.",
            latest.timestamp,
        )
        if not (self.runs_in(SubmitApp) and sys.stdin.isatty()):
            self.log.warning("They are submitted again.")
            return True
        try:
            return input("Submit them again? [y/N] ").strip().lower() in ("y", "yes")
        except EOFError:
            return False

    def _submit(self, tree: LocalTree) -> Submitted:
        """Send the tree. Repeat it if the key was of a submission that a newer one followed."""
        submitted = self._send(tree)
        latest = self._latest()
        if latest and submitted.timestamp < latest.timestamp:
            # The interrupted attempt had arrived, and another computer submitted after it.
            self.submission_cache.forget_key(self.course, self.assignment, self.student)
            submitted = self._send(tree)
        return submitted

    def _send(self, tree: LocalTree) -> Submitted:
        key = self.submission_cache.submission_key(
            self.course, self.assignment, self.student, tree.digest
        )
        known = self.submission_cache.known_digests(self.course, self.assignment)
        return self.client.submit(self.course, self.assignment, tree, key=key, known=known)

    def _latest(self) -> SubmissionInfo | None:
        return self.release.submissions[-1] if self.release.submissions else None

    def _keep(self, tree: LocalTree, submitted: Submitted) -> None:
        """Store the copy, the receipt and the digests; print the receipt."""
        cache = self.submission_cache
        names = (self.course, self.student, self.assignment, submitted.timestamp)
        if submitted.receipt is not None:
            self.log.info(
                "Receipt: %d files, digest %s, at %s",
                submitted.receipt["files"],
                submitted.receipt["digest"],
                submitted.receipt["timestamp"],
            )
            receipt = cache.keep_receipt(submitted.receipt, *names)
            self.log.info("The receipt is kept in %s", receipt)
        digests = {file.sha256 for file in tree.files}
        cache.remember_digests(self.course, self.assignment, digests)
        cache.keep(tree.folder, *names)

"""``ngshare receipt``: show that the service still has a submission exactly as it was handed in."""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nbgrader.apps import NbGrader
from nbgrader.coursedir import CourseDirectory
from nbgrader.exchange import ExchangeError as NbgraderError

from ngshare.errors import BadRequest
from ngshare.exchange.connection import ServiceError
from ngshare.exchange.plugin.base import Exchange, describe_os_error
from ngshare.protocol.times import format_time, parse_time

_DESCRIPTION = """\
Show the receipt of a submission, and check that the service still has exactly what it says: its
signature, the submission, the digest of its files, and the content of each file.

Students check their own submissions; the receipt is the one that `nbgrader submit` kept on this
computer, if there is one. Instructors check those of any student of the course.
"""


class _Failure(Exception):
    """A request of the user that cannot be fulfilled; the message says why."""


def main(argv: Sequence[str]) -> int:
    """Run ``ngshare receipt`` with these arguments. Return the exit code: 0 if all is right."""
    options = _parser().parse_args(argv)
    try:
        return _run(options)
    except (ServiceError, _Failure) as error:
        print(f"ngshare receipt: {error}", file=sys.stderr)
    except OSError as error:
        print(f"ngshare receipt: {describe_os_error(error)}", file=sys.stderr)
    except NbgraderError:
        pass  # it was logged
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ngshare receipt",
        description=_DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("assignment", nargs="?", help="name of the assignment")
    parser.add_argument("--course", default="", help="name of the course, if there are several")
    parser.add_argument("--student", help="whose submission (for instructors)")
    parser.add_argument("--time", help="time of the submission; default: the latest one")
    parser.add_argument(
        "--file", type=Path, help="check the receipt in this file, instead of one by name"
    )
    parser.add_argument(
        "--fetch", type=Path, metavar="FOLDER", help="also download the submission to a new folder"
    )
    parser.add_argument("--json", action="store_true", help="print the receipt as JSON")
    return parser


def _run(options: argparse.Namespace) -> int:
    exchange = _load_exchange(options.course)
    client = exchange.client
    if options.file:
        receipt = _read_receipt(options.file)
    elif options.assignment:
        receipt = _require_receipt(exchange, options)
    else:
        raise _Failure("Name an assignment, or the file of a receipt with --file.")
    valid, message = client.verify_receipt(receipt)
    if options.json:
        print(json.dumps({"receipt": receipt, "valid": valid, "message": message}, indent=2))
    else:
        for key in ("course", "assignment", "student", "timestamp", "files", "bytes", "digest"):
            print(f"{key:<11} {receipt.get(key)}")
        print(message)
    if options.fetch and valid:
        course, assignment, student = (receipt[k] for k in ("course", "assignment", "student"))
        if options.fetch.exists():
            raise _Failure(f"{options.fetch} exists already; name a folder that does not.")
        time = receipt["timestamp"]
        client.fetch_submission(course, assignment, student, time, options.fetch)
        print(f"Downloaded to {options.fetch}", file=sys.stderr)
    return 0 if valid else 1


def _load_exchange(course: str) -> Exchange:
    """Return the plugin's base class with the settings of ``nbgrader_config.py``."""
    app = NbGrader(log_level=logging.ERROR)
    app.load_config_file()
    if course:
        app.config.CourseDirectory.course_id = course
    return Exchange(coursedir=CourseDirectory(config=app.config), config=app.config)


def _read_receipt(path: Path) -> dict[str, Any]:
    try:
        receipt = json.loads(path.read_bytes())
    except ValueError:
        receipt = None
    if isinstance(receipt, dict) and isinstance(receipt.get("receipt"), dict):
        receipt = receipt["receipt"]  # the output of --json
    if not isinstance(receipt, dict):
        raise _Failure(f"{path} is no receipt: it should be the file that nbgrader submit kept.")
    return receipt


def _require_receipt(exchange: Exchange, options: argparse.Namespace) -> dict[str, Any]:
    """Return the receipt that this computer kept of a submission, or else the service's."""
    course = exchange.require_course("student")
    student, timestamp = _require_submission(exchange, course, options)
    names = (course, student, options.assignment, timestamp)
    kept = exchange.submission_cache.receipt(*names)
    if isinstance(kept, dict):
        return kept
    print("No receipt was kept on this computer; this one is from the service.", file=sys.stderr)
    return exchange.client.receipt(course, options.assignment, student, timestamp)


def _require_submission(
    exchange: Exchange, course: str, options: argparse.Namespace
) -> tuple[str, str]:
    """Return the student and the time of the submission that the options select."""
    overview = exchange.client.overview(course, options.assignment)
    student = options.student or overview.user
    if student == overview.user:
        submissions = [
            submission
            for info in overview.courses
            for assignment in info.assignments
            if assignment.name == options.assignment
            for submission in assignment.submissions
        ]
    else:
        submissions = exchange.client.collection(
            course, options.assignment, student=student, every=True
        )
    times = sorted(submission.timestamp for submission in submissions)
    if options.time is None:
        if not times:
            raise _Failure(f"{student} has not submitted '{options.assignment}' in {course}.")
        return student, times[-1]
    try:
        time = format_time(parse_time(options.time))
    except BadRequest:
        raise _Failure(f"'{options.time}' is no time like 2026-01-31 12:00:00.000000 UTC") from None
    if time not in times:
        raise _Failure(f"There is no submission at {time}. There are: {', '.join(times) or 'none'}")
    return student, time

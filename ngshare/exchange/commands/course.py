"""``ngshare course``: courses and their rosters, from an instructor's or an admin's own server."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ngshare.exchange.commands import roster_changes
from ngshare.exchange.commands.base import EXIT_OK, CommandError, Session, note, run
from ngshare.exchange.commands.csv_table import read_file
from ngshare.exchange.commands.roster_changes import Names, describe
from ngshare.exchange.commands.roster_csv import format_roster, parse_courses, parse_roster

DESCRIPTION = "Create courses, list them, and change their instructors and students."

EXAMPLES = """\
examples:
  ngshare course create physics ada bob
  ngshare course add-students physics students.csv --dry-run
  ngshare course show physics
  ngshare course rename physics sam --last-name Moon
  ngshare course export physics --output students.csv

The first line of students.csv names the columns: student_id, and first_name,
last_name and email as far as you have them. Commas, semicolons and tabs are
understood, and so is what Excel writes.

Admins of ngshare create courses and change instructors; instructors change
their students. `ngshare course COMMAND --help` explains a command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ngshare course`` with these arguments, and return the exit code."""
    commands = {command.name: command for command in COMMANDS}
    return run_command("ngshare course", DESCRIPTION, EXAMPLES, commands, arguments)


@dataclass(frozen=True, slots=True)
class Command:
    """A command: ``arguments`` are positional, with ``*`` or ``+`` after one that may repeat."""

    name: str
    action: Callable[[argparse.Namespace, Session], int]
    summary: str
    arguments: tuple[str, ...] = ()
    options: tuple[Callable[[argparse.ArgumentParser], object], ...] = ()


def run_command(
    program: str,
    description: str,
    epilog: str,
    commands: dict[str, Command],
    arguments: Sequence[str] | None,
) -> int:
    """Run the command that the arguments name, and return the exit code.

    commands: by their names on the command line. arguments: None for the process's own.
    """
    parser = argparse.ArgumentParser(
        prog=program,
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, command in commands.items():
        subparser = subparsers.add_parser(
            name, help=command.summary, description=f"{command.summary}."
        )
        subparser.set_defaults(action=command.action, no_gb=True)
        for argument in command.arguments:
            metavar = argument.rstrip("*+")
            mark = argument.removeprefix(metavar)
            subparser.add_argument(metavar.lower(), metavar=metavar, nargs=mark or None)
        for add_option in (*command.options, Session.add_options):
            add_option(subparser)
    options = parser.parse_args(arguments)
    return run(lambda: options.action(options, Session(options)))


def _add_names(parser: argparse.ArgumentParser) -> None:
    for short, name in (("-f", "first"), ("-l", "last")):
        parser.add_argument(
            *(short, f"--{name}-name", f"--{name}_name"), metavar="NAME", help=f"the {name} name"
        )
    parser.add_argument("-e", "--email", metavar="ADDRESS", help="the email address")


def _add_no_gradebook(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--no-gb",
        action="store_true",
        default=False,
        help="leave nbgrader's gradebook of this course folder alone",
    )


def _add_force(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--force",
        action="store_true",
        help="remove students from the gradebook also when that deletes their grades",
    )


def _add_dry_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--dry-run", action="store_true", help="only say what would be added and changed"
    )


def _add_encoding(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoding", metavar="NAME", help="the file's encoding, if the guess is wrong"
    )


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--output", type=Path, metavar="FILE", help="write a new file instead of printing"
    )


def _list(options: argparse.Namespace, session: Session) -> int:
    roles = {course.name: course.role for course in session.client.overview().courses}
    names = sorted({*session.client.courses(), *roles})
    for name in names:
        print(f"{name}  {roles.get(name) or 'admin'}")
    if not names:
        note(
            "You are in no course. An instructor adds you by your name at the Hub; an admin of "
            "ngshare creates courses."
        )
    return EXIT_OK


def _show(options: argparse.Namespace, session: Session) -> int:
    client, course = session.client, options.course
    instructors = roster_changes.list_instructors(client, course)
    students = roster_changes.list_students(client, course)
    courses = client.overview(course, counts=True).courses
    shown = next((each for each in courses if each.name == course), None)
    print(f"Course {course}")
    for title, members in (("instructors", instructors), ("students", students)):
        print(f"{len(members)} {title}")
        for member in members:
            print(f"  {describe(member)}")
    assignments = shown.assignments if shown else []
    print(f"{len(assignments)} assignments")
    for assignment in assignments:
        words = [assignment.name]
        if assignment.released:
            words.append(f"released {assignment.released}")
        if assignment.students_submitted is not None:
            words.append(f"submitted by {assignment.students_submitted}")
        print(f"  {'  '.join(words)}")
    return EXIT_OK


def _create(options: argparse.Namespace, session: Session) -> int:
    return roster_changes.create_course(session.client, options.course, options.instructor)


def _create_many(options: argparse.Namespace, session: Session) -> int:
    courses = parse_courses(read_file(Path(options.file)), options.encoding)
    return roster_changes.create_courses(session.client, courses)


def _add_instructor(options: argparse.Namespace, session: Session) -> int:
    names = _names(options)
    return roster_changes.add_instructor(session.client, options.course, options.user, names)


def _remove_instructor(options: argparse.Namespace, session: Session) -> int:
    return roster_changes.remove_instructor(session.client, options.course, options.user)


def _add_student(options: argparse.Namespace, session: Session) -> int:
    return roster_changes.add_student(
        session.client, options.course, options.user, _names(options), session.gradebook
    )


def _add_students(options: argparse.Namespace, session: Session) -> int:
    roster = parse_roster(read_file(Path(options.file)), options.encoding)
    for sentence in roster.notes:
        note(sentence)
    return roster_changes.import_students(
        session.client,
        options.course,
        roster.entries,
        session.gradebook,
        dry_run=options.dry_run,
    )


def _remove_students(options: argparse.Namespace, session: Session) -> int:
    return roster_changes.remove_students(
        session.client, options.course, options.user, session.gradebook, force=options.force
    )


def _rename(options: argparse.Namespace, session: Session) -> int:
    return roster_changes.rename(session.client, options.course, options.user, _names(options))


def _export(options: argparse.Namespace, session: Session) -> int:
    students = roster_changes.list_students(session.client, options.course)
    text = format_roster(students)
    if options.output is None:
        print(text, end="")
        return EXIT_OK
    try:
        # With a byte order mark Excel reads names in UTF-8.
        with options.output.open("x", encoding="utf-8-sig") as file:
            file.write(text)
    except OSError as error:
        raise CommandError(f"{options.output} cannot be written: {error.strerror}") from error
    print(f"{len(students)} students written to {options.output}.")
    return EXIT_OK


def _names(options: argparse.Namespace) -> Names:
    return Names(options.first_name, options.last_name, options.email)


COMMANDS = (
    Command("list", _list, "List your courses and your role in each"),
    Command("show", _show, "Show the members and the assignments of a course", ("COURSE",)),
    Command("create", _create, "Create a course", ("COURSE", "INSTRUCTOR*")),
    Command(
        "create-many",
        _create_many,
        "Create the courses in a CSV file with the columns course and instructors",
        ("FILE",),
        (_add_encoding,),
    ),
    Command(
        "add-instructor",
        _add_instructor,
        "Add an instructor, or change an instructor's names",
        ("COURSE", "USER"),
        (_add_names,),
    ),
    Command("remove-instructor", _remove_instructor, "Remove an instructor", ("COURSE", "USER")),
    Command(
        "add-student",
        _add_student,
        "Add a student, or change a student's names",
        ("COURSE", "USER"),
        (_add_names, _add_no_gradebook),
    ),
    Command(
        "add-students",
        _add_students,
        "Add the students in a CSV file, and change the names of those in the course",
        ("COURSE", "FILE"),
        (_add_dry_run, _add_encoding, _add_no_gradebook),
    ),
    Command(
        "remove-students",
        _remove_students,
        "Remove students; the service keeps their submissions",
        ("COURSE", "USER+"),
        (_add_no_gradebook, _add_force),
    ),
    Command(
        "rename",
        _rename,
        "Change the names or the address of an instructor or a student",
        ("COURSE", "USER"),
        (_add_names,),
    ),
    Command(
        "export", _export, "Write the students of a course as CSV", ("COURSE",), (_add_output,)
    ),
)

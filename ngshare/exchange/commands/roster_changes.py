"""Changes of courses and rosters that ``ngshare course`` and ``ngshare-course-management`` make.

Each function makes one change at the service and, for students, in nbgrader's gradebook of the
course folder. It prints what it did and returns the exit code.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

from ngshare.exchange.client import ExchangeClient, Person
from ngshare.exchange.commands.base import EXIT_OK, CommandError, fail, note
from ngshare.exchange.commands.gradebook import add_to_gradebook, remove_from_gradebook
from ngshare.exchange.commands.nbgrader_config import NbgraderConfig
from ngshare.exchange.commands.roster_csv import RosterEntry
from ngshare.exchange.connection import ServiceError
from ngshare.protocol.usernames import name_warnings


@dataclass(frozen=True, slots=True)
class Names:
    """Names and address on a command line. None leaves a member's as they are."""

    first_name: str | None = None
    last_name: str | None = None
    email: str | None = None

    def entry(self, username: str) -> RosterEntry:
        """Return them as the roster entry of a user."""
        return RosterEntry(username, self.first_name, self.last_name, self.email)


@dataclass(frozen=True, slots=True)
class ImportPlan:
    """What an import would change. Entries have the values that the roster will have.

    changed: pairs of the member as it is and the entry. instructors: names in the file that are
    instructors of the course, who cannot be its students. absent: students who are not in the file.
    """

    added: list[RosterEntry]
    changed: list[tuple[RosterEntry, RosterEntry]]
    unchanged: list[RosterEntry]
    instructors: list[str]
    absent: list[str]


def complete(entry: RosterEntry, member: RosterEntry | None) -> RosterEntry:
    """Return an entry with a member's values where it has none; empty ones for a new member."""

    def value(given: str | None, present: str | None) -> str:
        return given if given is not None else present or ""

    if member is None:
        member = RosterEntry(entry.username)
    return RosterEntry(
        entry.username,
        value(entry.first_name, member.first_name),
        value(entry.last_name, member.last_name),
        value(entry.email, member.email),
    )


def plan_import(
    entries: Iterable[RosterEntry],
    members: Sequence[RosterEntry],
    teachers: Sequence[RosterEntry],
) -> ImportPlan:
    """Return what an import of these entries changes in a course.

    members: its students. teachers: its instructors.
    """
    present = {member.username: member for member in members}
    teaching = {member.username for member in teachers}
    plan = ImportPlan([], [], [], [], [])
    named = set()
    for entry in entries:
        named.add(entry.username)
        member = present.get(entry.username)
        new = complete(entry, member)
        if entry.username in teaching:
            plan.instructors.append(entry.username)
        elif member is None:
            plan.added.append(new)
        elif new != complete(RosterEntry(entry.username), member):
            plan.changed.append((member, new))
        else:
            plan.unchanged.append(new)
    plan.absent.extend(sorted(present.keys() - named))
    return plan


def list_instructors(client: ExchangeClient, course: str) -> list[RosterEntry]:
    """Return the instructors of a course."""
    return [_entry(person) for person in client.instructors(course)]


def list_students(client: ExchangeClient, course: str) -> list[RosterEntry]:
    """Return the students of a course."""
    return [_entry(person) for person in client.students(course)]


def create_course(client: ExchangeClient, course: str, instructors: Sequence[str]) -> int:
    """Create a course with its instructors."""
    _note_odd_names(instructors)
    client.create_course(course, instructors)
    taught = f", taught by {', '.join(instructors)}" if instructors else ""
    print(f"Created the course {course}{taught}.")
    return EXIT_OK


def create_courses(client: ExchangeClient, courses: Mapping[str, Sequence[str]]) -> int:
    """Create several courses; go on after one that fails."""
    return max(_create_one(client, *course) for course in courses.items())


def _create_one(client: ExchangeClient, course: str, instructors: Sequence[str]) -> int:
    try:
        return create_course(client, course, instructors)
    except ServiceError as error:
        return fail(f"{course}: {error}")


def add_instructor(client: ExchangeClient, course: str, username: str, names: Names) -> int:
    """Make a user an instructor of a course, or change the instructor's names."""
    _note_odd_names([username])
    member = _find(list_instructors(client, course), username)
    entry = complete(names.entry(username), member)
    client.put_instructor(course, username, *_values(entry))
    print(f"{username} is an instructor of {course}.")
    return EXIT_OK


def remove_instructor(client: ExchangeClient, course: str, username: str) -> int:
    """Remove an instructor from a course."""
    client.remove_instructor(course, username)
    print(f"{username} is no longer an instructor of {course}.")
    return EXIT_OK


def add_student(
    client: ExchangeClient,
    course: str,
    username: str,
    names: Names,
    settings: NbgraderConfig | None,
) -> int:
    """Make a user a student of a course, or change the student's names.

    settings: nbgrader's configuration; None leaves the gradebook alone.
    """
    _note_odd_names([username])
    entry = complete(names.entry(username), _find(list_students(client, course), username))
    client.put_student(course, username, *_values(entry))
    print(f"{username} is a student of {course}.")
    if settings is not None:
        _add_to_gradebook(course, [entry], settings)
    return EXIT_OK


def import_students(
    client: ExchangeClient,
    course: str,
    entries: Sequence[RosterEntry],
    settings: NbgraderConfig | None,
    *,
    dry_run: bool = False,
) -> int:
    """Add the students in a file, and change the names of those who are in the course.

    Students who are not in the file stay. dry_run: only say what would change.
    """
    plan = plan_import(entries, list_students(client, course), list_instructors(client, course))
    _print_plan(plan, details=dry_run)
    code = EXIT_OK
    for username in plan.instructors:
        code = fail(f"{username} is an instructor of {course}, who cannot be its student as well")
    if dry_run:
        print("Nothing was changed: this was a dry run.")
        return code
    sent = [*plan.added, *(new for _, new in plan.changed)]
    refused = dict(client.put_students(course, [asdict(entry) for entry in sent])) if sent else {}
    for username, message in refused.items():
        code = fail(f"{username}: {message}")
    if settings is not None:
        present = [entry for entry in (*sent, *plan.unchanged) if entry.username not in refused]
        _add_to_gradebook(course, present, settings)
    return code


def remove_students(
    client: ExchangeClient,
    course: str,
    usernames: Sequence[str],
    settings: NbgraderConfig | None,
    *,
    force: bool = False,
) -> int:
    """Remove students from a course; their submissions stay at the service.

    force: remove from the gradebook those too who have grades there, with their grades.
    """
    code = EXIT_OK
    removed = []
    for username in dict.fromkeys(usernames):
        try:
            client.remove_student(course, username)
        except ServiceError as error:
            code = fail(f"{username}: {error}")
            if error.message != "Student not found":
                continue
        else:
            print(f"{username} is no longer a student of {course}.")
        removed.append(username)  # perhaps an earlier run did not reach the gradebook
    if settings is None or not removed or not _is_gradebook_of(course, settings):
        return code
    for username in remove_from_gradebook(course, settings, removed, force=force):
        code = fail(f"{username} has grades in the gradebook and stays there; --force removes both")
    return code


def rename(client: ExchangeClient, course: str, username: str, names: Names) -> int:
    """Change the names or the address of a member of a course. Raises CommandError."""
    if names == Names():
        raise CommandError("say what to change: --first-name, --last-name or --email")
    instructor = _find(list_instructors(client, course), username)
    student = None if instructor else _find(list_students(client, course), username)
    member = instructor or student
    if member is None:
        raise CommandError(f"{username} is neither an instructor nor a student of {course}")
    entry = complete(names.entry(username), member)
    put = client.put_instructor if instructor else client.put_student
    put(course, username, *_values(entry))
    print(f"{describe(entry)} in {course}.")
    return EXIT_OK


def describe(member: RosterEntry) -> str:
    """Return a member as text: user name, names and address as far as they are known."""
    names = " ".join(filter(None, (member.first_name, member.last_name)))
    address = f"<{member.email}>" if member.email else ""
    return "  ".join(filter(None, (member.username, names, address)))


def _entry(person: Person) -> RosterEntry:
    """Return a member as the service describes them as a roster entry."""
    names = (person["first_name"], person["last_name"], person["email"])
    return RosterEntry(person["username"] or "", *names)


def _values(entry: RosterEntry) -> tuple[str, str, str]:
    return entry.first_name or "", entry.last_name or "", entry.email or ""


def _find(members: Iterable[RosterEntry], username: str) -> RosterEntry | None:
    return next((member for member in members if member.username == username), None)


def _note_odd_names(usernames: Iterable[str]) -> None:
    """Say which names are unlikely to match a user of the Hub."""
    for username in usernames:
        for warning in name_warnings(username):
            note(f'"{username}" {warning}')


def _is_gradebook_of(course: str, settings: NbgraderConfig) -> bool:
    """Return whether the gradebook of this folder is the course's; say so if it is another's."""
    configured = settings.get("CourseDirectory", "course_id")
    if configured in (None, "", "*", course):
        return True
    note(f"The gradebook here is that of the course {configured}, and was not changed.")
    return False


def _add_to_gradebook(
    course: str, entries: Sequence[RosterEntry], settings: NbgraderConfig
) -> None:
    if entries and _is_gradebook_of(course, settings):
        add_to_gradebook(course, settings, entries)


def _print_plan(plan: ImportPlan, *, details: bool) -> None:
    """Print what an import changes; with details, each new and changed student."""
    if details:
        for entry in plan.added:
            print(f"added      {describe(entry)}")
        for member, entry in plan.changed:
            print(f"changed    {describe(member)}  ->  {describe(entry)}")
        for username in plan.absent:
            print(f"not in the file  {username}, who stays a student")
    print(
        f"{len(plan.added)} added, {len(plan.changed)} changed, {len(plan.unchanged)} unchanged, "
        f"{len(plan.absent)} not in the file"
    )

"""``ngshare log``: show the audit log, or the students who have not submitted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import date, datetime, time, timezone

from traitlets import Bool, Integer, Unicode

from ngshare.actions import audit, audit_query, missing
from ngshare.actions.audit_query import LogEntry, LogFilter
from ngshare.actions.missing import MissingStudent
from ngshare.commands.base import EXIT_OK, SITE_ALIASES, Command, CommandError
from ngshare.db.transactions import Database
from ngshare.protocol.times import format_time


class Log(Command):
    """Show the audit log: who released, fetched, submitted, collected, changed, and when.

    Did she submit before the deadline? Ask for her submissions until then. Who has not
    submitted? Ask for --missing: it lists the students of the roster without a
    submission, or without one --until that moment. Times are in UTC, to the second or to the day:
    2026-11-20, "2026-11-20 18:00", "2026-11-20T18:00:00+01:00".

    The number of an entry is its name, and not always in the order of time, because some
    entries are written late; --before takes the number of the last entry that was shown.
    """

    name = Unicode("ngshare log")
    aliases = {
        **SITE_ALIASES,
        "course": "Log.course",
        "assignment": "Log.assignment",
        "student": "Log.student",
        "actor": "Log.actor",
        "event": "Log.event",
        "since": "Log.since",
        "until": "Log.until",
        "limit": "Log.limit",
        "before": "Log.before",
    }
    flags = {
        "oldest-first": ({"Log": {"oldest_first": True}}, "The oldest first, not the newest"),
        "json": ({"Log": {"as_json": True}}, "One JSON object on each line"),
        "missing": ({"Log": {"missing": True}}, "Who has not handed in, or not until --until"),
    }
    examples = Unicode("""
    ngshare log --course "Physics 101" --limit 20
    ngshare log --course "Physics 101" --assignment ps1 --student sam \\
        --event "submission handed in" --until "2026-11-20 18:00"
    ngshare log --course "Physics 101" --assignment ps1 --missing
    ngshare log --since 2026-11-01 --json --limit 0 > november.jsonl
    """)

    course = Unicode(help="Only of this course").tag(config=True)
    assignment = Unicode(help="Only of this assignment").tag(config=True)
    student = Unicode(help="Only about this student").tag(config=True)
    actor = Unicode(help="Only what this user did").tag(config=True)
    event = Unicode(help="Only this event, as the log names it").tag(config=True)
    since = Unicode(help="Only from this moment on").tag(config=True)
    until = Unicode(help="Only until this moment; of a day, until its end").tag(config=True)
    limit = Integer(100, min=0, help="How many entries at most; 0: all").tag(config=True)
    before = Integer(0, min=0, help="Go on after this entry, by its number").tag(config=True)
    oldest_first = Bool(False, help="The oldest first").tag(config=True)
    as_json = Bool(False, help="One JSON object on each line").tag(config=True)
    missing = Bool(False, help="Who has not handed in").tag(config=True)

    def run(self) -> int:
        since = parse_time_option(self.since, time.min) if self.since else None
        until = parse_time_option(self.until, time.max) if self.until else None
        if self.missing:
            self._refuse_ignored_options()
            return self._print_missing(until)
        if self.event and self.event not in audit.EVENTS:
            raise CommandError(
                f"there is no event {self.event!r}; there are: {', '.join(audit.EVENTS)}"
            )
        log_filter = LogFilter(
            course=self.course or None,
            assignment=self.assignment or None,
            student=self.student or None,
            actor=self.actor or None,
            event=self.event or None,
            since=since,
            until=until,
            oldest_first=self.oldest_first,
        )
        if self.before:
            log_filter = _continue_after(log_filter, self.before)
        shown, last = 0, 0
        with self.open_database() as database:
            for entry in self._entries(database, log_filter):
                if shown == self.limit and self.limit:
                    self.print_note(f"There is more: --before={last} goes on, --limit=0 shows all.")
                    break
                self.print_line(json.dumps(_to_json(entry)) if self.as_json else describe(entry))
                shown, last = shown + 1, entry.id
            if not shown:
                database.read(audit_query.require_known_names, self.caller, log_filter)
        if not shown and not self.as_json:
            self.print_line("There is nothing of that in the log.")
        return EXIT_OK

    def _entries(self, database: Database, log_filter: LogFilter) -> Iterator[LogEntry]:
        """Yield the entries of the filter, a page at a time, so that only shown ones are read."""
        while True:
            page = database.read(
                audit_query.list_log,
                self.caller,
                replace(log_filter, limit=audit_query.MAX_PAGE_SIZE),
            )
            yield from page.entries
            if page.next is None:
                return
            log_filter = _continue_after(log_filter, page.next)

    def _refuse_ignored_options(self) -> None:
        """Raise CommandError when an option on the command line has no effect with --missing."""
        given = {*self.cli_config.get("Log", {})}
        used = {"course", "assignment", "until", "missing", "as_json"}
        for option, setting in (*self.aliases.items(), ("oldest-first", "Log.oldest_first")):
            section, _, name = setting.rpartition(".")
            if section == "Log" and name in given - used:
                raise CommandError(
                    f"--{option} means nothing with --missing, which wants --course and "
                    "--assignment, and takes --until and --json: leave one of the two out"
                )

    def _print_missing(self, until: datetime | None) -> int:
        """Print the students without a submission until then (UTC); return the exit code."""
        if not (self.course and self.assignment):
            raise CommandError("--missing wants --course and --assignment")
        with self.open_database() as database:
            students = database.read(
                missing.list_missing, self.caller, self.course, self.assignment, until
            )
        for student in students:
            if self.as_json:
                late = format_time(student.late) if student.late else None
                self.print_line(json.dumps({**asdict(student), "late": late}))
            else:
                self.print_line(describe_missing(student))
        if not students and not self.as_json:
            self.print_line("Everybody has handed in.")
        return EXIT_OK


def describe(entry: LogEntry) -> str:
    """Return an entry as one line: number, time, actor, event, course, student and details."""
    place = "/".join(name for name in (entry.course, entry.assignment) if name is not None)
    words = [f"{entry.id:>6}", format_time(entry.at)[:19] + "Z", entry.actor, entry.event]
    words += [word for word in (place, entry.student) if word]
    words += [f"{key}={_format_value(value)}" for key, value in (entry.detail or {}).items()]
    return "  ".join(words)


def describe_missing(student: MissingStudent) -> str:
    """Return a student who has not submitted in time as one line."""
    names = " ".join(name for name in (student.first_name, student.last_name) if name)
    late = f"late, {format_time(student.late)}" if student.late else "never"
    return "  ".join(word for word in (student.username, names, student.email or "", late) if word)


def parse_time_option(text: str, default: time) -> datetime:
    """Return the time (UTC) that an option names; ``default`` is the time of a date alone.

    A time without a zone is in UTC. Raises CommandError when ``text`` is not a time.
    """
    text = text.strip()
    try:
        if re.fullmatch(r"\d{4}-\d\d-\d\d", text):
            return datetime.combine(date.fromisoformat(text), default, timezone.utc)
        parsed = datetime.fromisoformat(re.sub(r"\s*(UTC|Z)$", "+00:00", text))
    except ValueError:
        raise CommandError(
            f"{text!r} is no moment; write 2026-11-20 or '2026-11-20 18:00' (UTC)"
        ) from None
    return parsed.replace(tzinfo=parsed.tzinfo or timezone.utc).astimezone(timezone.utc)


def _continue_after(log_filter: LogFilter, number: int) -> LogFilter:
    """Return a filter for the entries after the one of this number, in the filter's order."""
    if log_filter.oldest_first:
        return replace(log_filter, after=number)
    return replace(log_filter, before=number)


def _format_value(value: object) -> str:
    """Return a value of an entry's details: text as it is, anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _to_json(entry: LogEntry) -> dict[str, object]:
    """Return the JSON object of an entry, as in the API."""
    fields = asdict(entry)
    return {"id": fields.pop("id"), "timestamp": format_time(fields.pop("at")), **fields}

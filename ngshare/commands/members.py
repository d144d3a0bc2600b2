"""``ngshare members``: list the members of courses, and those who never used ngshare."""

from __future__ import annotations

import json
from dataclasses import asdict

from traitlets import Bool, Unicode

from ngshare.actions import users
from ngshare.actions.users import Member
from ngshare.commands.base import EXIT_OK, SITE_ALIASES, Command
from ngshare.protocol.times import format_time


class Members(Command):
    """List the members of every course, and since when each is known to use ngshare.

    A member whose name is not exactly the name at the Hub never comes: the roster says JDoe,
    the Hub jdoe, and jdoe is not in the course. --never-seen lists those who never sent a
    request, what is odd about their names, and users who did come under nearly the same name.
    """

    name = Unicode("ngshare members")
    aliases = {**SITE_ALIASES, "course": "Members.course"}
    flags = {
        "never-seen": ({"Members": {"never_seen": True}}, "Only those who never sent a request"),
        "json": ({"Members": {"as_json": True}}, "One JSON object on each line"),
    }
    examples = Unicode("""
    ngshare members --course "Physics 101"
    ngshare members --never-seen
    """)

    course = Unicode(help="Only of this course").tag(config=True)
    never_seen = Bool(False, help="Only those who never sent a request").tag(config=True)
    as_json = Bool(False, help="One JSON object on each line").tag(config=True)

    def run(self) -> int:
        with self.open_database() as database:
            members = database.read(users.list_members, self.caller, self.course or None)
        if self.never_seen:
            members = [member for member in members if member.first_seen_at is None]
        for member in members:
            self.print_line(json.dumps(_to_json(member)) if self.as_json else describe(member))
        if not members and not self.as_json:
            self.print_line("There are none.")
        return EXIT_OK


def describe(member: Member) -> str:
    """Return a member as one line: course, name, role, first request, warnings about the name."""
    words = [member.course, member.username, member.role]
    if member.first_seen_at is None:
        words.append("never seen")
    else:
        words.append(f"since {format_time(member.first_seen_at)[:10]}")
    # Quoted and escaped, to make blanks and look-alike letters visible.
    words += [f"{json.dumps(member.username)} {warning}" for warning in member.warnings]
    words += [f"nearly {json.dumps(name)}, who was seen" for name in member.similar]
    return "  ".join(words)


def _to_json(member: Member) -> dict[str, object]:
    """Return the JSON object of a member."""
    at = member.first_seen_at
    return {**asdict(member), "first_seen_at": format_time(at) if at else None}

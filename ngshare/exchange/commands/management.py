"""``ngshare-course-management``: the command of earlier plugins, which documents and scripts name.

It has the same subcommands and options as theirs, and does what ``ngshare course`` does.
"""

from __future__ import annotations

from collections.abc import Sequence

from ngshare.exchange.commands.course import COMMANDS, DESCRIPTION, run_command

NAMES = {
    "create": "create_course",
    "add-instructor": "add_instructor",
    "remove-instructor": "remove_instructor",
    "add-student": "add_student",
    "add-students": "add_students",
    "remove-students": "remove_students",
}
"""The names of earlier plugins for the commands of ``ngshare course``."""

EPILOG = "`ngshare course` does the same and more: see `ngshare course --help`."


def main(arguments: Sequence[str] | None = None) -> int:
    """Run ``ngshare-course-management`` with these arguments, and return the exit code."""
    commands = {NAMES[command.name]: command for command in COMMANDS if command.name in NAMES}
    return run_command("ngshare-course-management", DESCRIPTION, EPILOG, commands, arguments)

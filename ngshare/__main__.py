"""The entry point of ``ngshare`` and ``python3 -m ngshare``: choose what to import, and run it.

A user's server has the plugin's dependencies and need not have those of the service, so a command
for users is run without an import of the service.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from ngshare.exchange.commands import SUMMARIES


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command on the command line, or the service, and exit."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["help"] and arguments[1:2] and arguments[1] in SUMMARIES:
        arguments = [*arguments[1:], "--help"]
    if arguments and arguments[0] in SUMMARIES:
        sys.exit(_run_user_command(*arguments))
    from ngshare import app

    app.main(arguments)


def _run_user_command(name: str, *arguments: str) -> int:
    """Run a command of users' servers, and return its exit code."""
    try:
        command = import_module(f"ngshare.exchange.commands.{name}")
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "ngshare":
            raise
        print(
            f"ngshare: 'ngshare {name}' needs {missing}: pip install 'ngshare[exchange]'",
            file=sys.stderr,
        )
        return 1
    code: int = command.main(arguments)
    return code


if __name__ == "__main__":
    main()

"""``ngshare`` runs a command for users without the service, and the service for all else."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ngshare.__main__ import main
from ngshare.exchange.commands import SUMMARIES


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Return the exit code and what was printed to standard output and standard error."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert isinstance(ended.value.code, int)
    return (ended.value.code, *capsys.readouterr())


def test_help_lists_the_commands_for_users_too(capsys: pytest.CaptureFixture[str]) -> None:
    for option in ("--help", "--help-all"):
        code, shown, _ = run(capsys, option)
        assert code == 0
        for name, summary in SUMMARIES.items():
            assert f"  {name}" in shown
            assert summary in shown


def test_a_command_that_does_not_come_first_or_is_misspelt(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(capsys, "--debug", "course") == (
        1,
        "",
        "ngshare: course is a command: it comes first; did you mean ngshare course ...?\n",
    )
    assert run(capsys, "docter") == (
        1,
        "",
        "ngshare: 'docter' is not understood; did you mean doctor?\n",
    )


def test_commands_of_administrators_are_those_of_the_service(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, shown, _ = run(capsys, "members", "--help")
    assert code == 0
    assert shown.startswith("ngshare members [OPTIONS]")


def test_without_the_extra_the_command_says_what_to_install() -> None:
    code = (
        "import sys\n"
        "sys.modules['requests'] = None\n"
        "from ngshare.__main__ import main\n"
        "main(['course', 'list'])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (
        1,
        "ngshare: 'ngshare course' needs requests: pip install 'ngshare[exchange]'\n",
    )


@pytest.mark.parametrize("command", ["course", "doctor"])
def test_nothing_of_the_service_is_imported(command: str) -> None:
    code = (
        "import sys\n"
        "from ngshare.__main__ import main\n"
        "try:\n"
        f"    main(['{command}', '--help'])\n"
        "finally:\n"
        "    service = {'sqlalchemy', 'alembic', 'tornado', 'ngshare.app', 'ngshare.db'}\n"
        "    print('imported', sorted(service & sys.modules.keys()))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"usage: ngshare {command}"), done.stderr
    assert done.stdout.endswith("imported []\n")

"""``ngshare-course-management``, with the arguments that documents of earlier plugins name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ngshare.exchange.commands.management import main
from tests.exchange.commands.test_course import in_gradebook, students
from tests.exchange.running_service import RunningService

pytestmark = pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")  # nbgrader's own
CSV = "student_id,first_name,last_name,email\nsam,Sam,Sun,sam@example.edu\nzoe,Zoë,,\n"


def test_as_documents_show_it(
    as_user: Callable[[str], None],
    service: RunningService,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It works where a login shell has reset PATH, too: nbgrader runs ``alembic``."""
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    (folder / "students.csv").write_text(CSV, encoding="utf8")
    assert main(["create_course", "physics", "ada", "bob"]) == 0
    assert main(["add_instructor", "physics", "eve", "-f", "Eve", "-l", "E", "-e", "e@x"]) == 0
    assert main(["remove_instructor", "physics", "bob"]) == 0
    people = service.call("GET", "instructors", "physics")["instructors"]
    assert [each["username"] for each in people] == ["ada", "eve"]
    as_user("ada")
    assert main(["add_student", "physics", "kim", "--first_name", "Kim", "--no-gb"]) == 0
    assert main(["add_students", "physics", "students.csv"]) == 0
    assert set(students(service)) == {"kim", "sam", "zoe"}
    assert set(in_gradebook(folder)) == {"sam", "zoe"}
    assert main(["remove_students", "physics", "sam", "zoe", "--force"]) == 0
    assert set(students(service)) == {"kim"}
    assert in_gradebook(folder) == {}
    assert main(["remove_students", "--no-gb", "physics", "sam"]) == 1


@pytest.mark.parametrize("arguments", [[], ["create"], ["create_course"], ["add_student", "c"]])
def test_wrong_arguments(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert "usage: ngshare-course-management" in capsys.readouterr().err


def test_without_a_locale(
    as_user: Callable[[str], None], service: RunningService, folder: Path
) -> None:
    """A terminal in a Hub may have no locale; names with accents pass all the same."""
    service.create_course("physics")
    (folder / "students.csv").write_text(CSV, encoding="utf8")
    code = "from ngshare.exchange.commands.management import main; raise SystemExit(main())"
    environment = {name: os.environ[name] for name in os.environ if not name.startswith("LC_")}
    for more in ({"LANG": "C"}, {"LANG": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}):
        done = subprocess.run(
            [sys.executable, "-c", code, "add_students", "physics", "students.csv", "--dry-run"],
            env={**environment, **more, "JUPYTERHUB_USER": "ada"},
            capture_output=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        assert b"added      zoe  Zo" in done.stdout

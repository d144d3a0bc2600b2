"""``ngshare receipt``: that the service still has what was handed in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ngshare.exchange.commands import receipt
from tests.exchange.plugin.computers import COURSE, NOTEBOOK, STUDENT, Computer, Site


@pytest.fixture
def sam(site: Site) -> Computer:
    """A student's computer, from which ps1 was submitted twice."""
    sam = site.student("ps1")
    sam.succeed("fetch_assignment", "ps1")
    sam.succeed("submit", "ps1")
    sam.write("ps1", {"p1.ipynb": b"changed"})
    sam.succeed("submit", "ps1")
    return sam


def run(computer: Computer, *arguments: str) -> int:
    with computer.active():
        return receipt.main(arguments)


def times(computer: Computer) -> list[str]:
    return sorted(folder.name.rpartition("+")[2] for folder in computer.cache.glob("abc101/*"))


def test_a_student_checks_the_latest_submission(
    sam: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(sam, "ps1") == 0
    output = capsys.readouterr()
    assert f"timestamp   {times(sam)[1]}" in output.out
    assert "files       1" in output.out
    assert output.err == ""


def test_and_an_older_one(sam: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    time = times(sam)[0]
    assert run(sam, "ps1", "--course", COURSE, "--time", time, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["valid"] is True
    assert result["receipt"]["timestamp"] == time
    assert run(sam, "ps1", "--time", "2001-01-01 00:00") == 1
    assert run(sam, "ps1", "--time", "2001-01-01 00:00:00 UTC") == 1
    assert time in capsys.readouterr().err


def test_and_gets_it_back_on_a_new_computer(
    sam: Computer, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    time = times(sam)[0]
    sam.lose()
    assert run(sam, "ps1", "--time", time, "--fetch", str(sam.work / "back")) == 0
    assert "No receipt was kept on this computer" in capsys.readouterr().err
    assert sam.files() == {"back/p1.ipynb": NOTEBOOK}
    assert run(sam, "ps1", "--fetch", str(sam.work / "back")) == 1
    assert "exists already" in capsys.readouterr().err
    assert sam.files() == {"back/p1.ipynb": NOTEBOOK}


def test_an_instructor_checks_a_student_s_receipt(
    site: Site, sam: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = next((sam.cache / ".ngshare" / "receipts" / COURSE).iterdir())
    ada = site.computer("ada")
    assert run(ada, "ps1", "--student", STUDENT) == 0
    assert run(ada, "--file", str(kept)) == 0
    assert run(ada, "ps1") == 1
    assert "ada has not submitted 'ps1' in abc101" in capsys.readouterr().err


@pytest.mark.parametrize("field", ["digest", "timestamp", "signature", "student", "files"])
def test_a_forged_receipt_is_refused(
    site: Site, sam: Computer, field: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = sorted((sam.cache / ".ngshare" / "receipts" / COURSE).iterdir())
    forged = json.loads(first.read_bytes())
    other = json.loads(second.read_bytes())
    forged[field] = other[field] if other[field] != forged[field] else "ada"
    file = sam.work / "forged.json"
    file.write_text(json.dumps(forged))
    assert run(site.computer("ada"), "--file", str(file)) == 1
    capsys.readouterr()


def test_another_student_does_not_see_it(
    site: Site, sam: Computer, capsys: pytest.CaptureFixture[str]
) -> None:
    site.service.call("POST", "student", COURSE, "tom", first_name="", last_name="", email="")
    tom = site.computer("tom")
    assert run(tom, "ps1", "--student", STUDENT) == 1
    kept = next((sam.cache / ".ngshare" / "receipts" / COURSE).iterdir())
    assert run(tom, "--file", str(kept), "--fetch", str(tom.work / "x")) == 1
    assert not (tom.work / "x").exists()
    capsys.readouterr()


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"course": 1}'])
def test_a_file_that_is_no_receipt(
    sam: Computer, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = sam.work / "file"
    file.write_text(content)
    assert run(sam, "--file", str(file)) == 1
    output = capsys.readouterr()
    assert output.err or output.out
    assert "Traceback" not in output.err


def test_what_to_check_must_be_named(sam: Computer, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(sam) == 1
    assert run(sam, "--file", str(sam.work / "nothing")) == 1
    assert run(sam, "ps9") == 1
    assert capsys.readouterr().err.count("ngshare receipt: ") == 3

"""Rosters as spreadsheets, other systems and people write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from ngshare.exchange.commands.csv_table import TableError, read_file
from ngshare.exchange.commands.roster_csv import (
    Roster,
    RosterEntry,
    format_roster,
    parse_courses,
    parse_roster,
)

SAM = RosterEntry("sam", "Sam", "Sun", "sam@example.edu")
ZOE = RosterEntry("zoe", "Zoë", "Groß", "")
HEADER = "student_id,first_name,last_name,email\n"
TEXT = HEADER + "sam,Sam,Sun,sam@example.edu\nzoe,Zoë,Groß,\n"


def entries(text: str | bytes) -> list[RosterEntry]:
    return parse_roster(text.encode() if isinstance(text, str) else text).entries


def notes(text: str | bytes) -> list[str]:
    return parse_roster(text.encode() if isinstance(text, str) else text).notes


def faults(text: str | bytes) -> list[str]:
    with pytest.raises(TableError) as caught:
        parse_roster(text.encode() if isinstance(text, str) else text)
    return caught.value.faults


@pytest.mark.parametrize(
    "encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "cp1252", "latin-1"]
)
def test_encodings(encoding: str) -> None:
    assert entries(TEXT.encode(encoding)) == [SAM, ZOE]


def test_encoding_that_was_guessed_is_said() -> None:
    [note] = notes(TEXT.encode("cp1252"))
    assert "read as Windows-1252" in note
    assert notes(TEXT) == []


def test_encoding_can_be_given() -> None:
    content = TEXT.encode("mac_roman")
    assert parse_roster(content, "mac_roman") == Roster([SAM, ZOE], [])
    with pytest.raises(TableError, match="no encoding 'klingon'"):
        parse_roster(content, "klingon")
    with pytest.raises(TableError, match="the file is not ascii; save it as"):
        parse_roster(content, "ascii")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_ends(delimiter: str, newline: str) -> None:
    assert entries(TEXT.replace(",", delimiter).replace("\n", newline)) == [SAM, ZOE]


def test_delimiter_that_excel_states() -> None:
    assert entries("sep=;\r\n" + TEXT.replace(",", ";")) == [SAM, ZOE]


def test_a_comma_in_a_header_with_semicolons() -> None:
    assert entries('login;"name, first";first name\nsam;x;Sam\n') == [RosterEntry("sam", "Sam")]


def test_blanks_and_empty_lines() -> None:
    text = "\n\n student_id , first_name\n\n  sam ,\u00a0Sam \n , \n"
    assert entries(text) == [RosterEntry("sam", "Sam")]


def test_short_rows_lack_the_last_fields() -> None:
    assert entries(HEADER + "sam,Sam\n") == [RosterEntry("sam", "Sam", "", "")]


def test_fields_beyond_the_header() -> None:
    assert entries("student_id,email\nsam,s@x,,\n") == [RosterEntry("sam", email="s@x")]
    assert faults("student_id,first_name\nada,Ada\nsam,Sun, Sam\n") == [
        "line 3 has 3 fields, the header 2: put a text with the delimiter in it into quotation "
        "marks"
    ]


def test_quoted_fields() -> None:
    text = 'student_id,first_name,last_name\n"sam", "Sam ""the sun""","Sun, Jr."\n'
    assert entries(text) == [RosterEntry("sam", 'Sam "the sun"', "Sun, Jr.")]


@pytest.mark.parametrize(
    "header",
    [
        "STUDENT_ID,First_Name,LAST_NAME,Email",
        "Username,First name,Surname,E-mail",
        "\ufeffLogin ID,Given Name,Family Name,Email Address",
        "Benutzername,Vorname,Nachname,E-Mail-Adresse",
        "Identifiant,Prénom,Nom de famille,Courriel",
        "id,first_name,last_name,email",
    ],
)
def test_headers_of_other_systems(header: str) -> None:
    assert entries(header + "\nsam,Sam,Sun,sam@example.edu\n") == [SAM]


def test_order_of_columns_and_columns_of_no_roster() -> None:
    roster = parse_roster(b"email,Section,student_id\ns@x,A,sam\n")
    assert roster.entries == [RosterEntry("sam", None, None, "s@x")]
    assert roster.notes == ["line 1: columns that are not used: 'Section'"]


def test_id_is_the_user_only_where_no_better_column_is() -> None:
    assert entries("ID,SIS Login ID\n4711,sam\n") == [RosterEntry("sam")]


def test_two_columns_that_may_both_be_the_user() -> None:
    assert faults("student_id,Username\n4711,sam\n") == [
        "line 1: the columns 'student_id' and 'Username' may both be the student_id; remove one"
    ]


@pytest.mark.parametrize("text", ["sam,Sam,Sun,s@x\n", "Name,E-mail\nSam,s@x\n"])
def test_no_column_that_names_the_user(text: str) -> None:
    assert faults(text) == [
        "line 1 has no column student_id: the first line names the columns, as in "
        "student_id,first_name,last_name,email"
    ]


def test_users_that_occur_twice() -> None:
    twice = TEXT + "sam,Sam,Sun,sam@example.edu\n"
    assert entries(twice) == [SAM, ZOE]
    assert notes(twice) == ["line 4: sam is in line 2 already"]
    assert faults(TEXT + "sam,Sam,Moon,sam@example.edu\n") == [
        "line 4: sam is in line 2 already, with other names or another address"
    ]


def test_every_fault_is_said_with_its_line() -> None:
    text = HEADER + (
        ",Sam,Sun,\n"
        "a/b,Sam,Sun,\n"
        "good,Sam,Sun,\n"
        '"two\nlines",Sam,Sun,\n'
        "x\x07,Sam,Sun,\n"
        f"{'n' * 256},Sam,Sun,\n"
        "1.23457E+11,Sam,Sun,\n"
        '"sam" x,Sam,Sun,\n'
        "\n"
        '"never,Sam,Sun,\n'
        "ada,Ada,,\n"
    )
    assert faults(text) == [
        "line 2 has no student_id",
        "line 3 has a slash in its student_id a/b; ngshare allows none",
        "line 5 has a line break in its student_id: is a quotation mark missing?",
        "line 7 has a control character in its student_id",
        "line 8 has a student_id of more than 255 characters",
        "line 9 has the student_id 1.23457E+11, which a spreadsheet made of a long number: "
        "format that column as text",
        "line 10: text follows a closing quotation mark; inside a quoted text, write a quotation "
        "mark twice",
        "line 12: a quotation mark opens here and is never closed",
    ]


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"", "the file is empty"),
        (b"\xef\xbb\xbf\r\n\r\n", "the file is empty"),
        (HEADER.encode(), "there is no student in the file"),
        (b"PK\x03\x04rest", "this is a workbook, not CSV: save it as 'CSV UTF-8'"),
        (b"a\0\0\0\0b\0\0", "this is not a text file: save it as 'CSV UTF-8'"),
        (b'"student_id\nsam\n', "line 1: a quotation mark opens here and is never closed"),
    ],
)
def test_files_without_students(content: bytes, fault: str) -> None:
    assert faults(content) == [fault]


def test_names_that_match_no_user_are_noted() -> None:
    assert notes(HEADER + "JDoe,J,Doe,\n") == [
        'line 2: "JDoe" has capitals, and JupyterHub makes names lower-case by default'
    ]


def test_a_number_that_a_spreadsheet_was_told_to_leave_alone() -> None:
    assert entries(b'student_id\n="007"\n') == [RosterEntry("007")]


def test_written_and_read_again(tmp_path: Path) -> None:
    people = [SAM, ZOE, RosterEntry("=1+1", "a,b", '"q"', "-x"), RosterEntry("null")]
    text = format_roster(people)
    assert "'=1+1" in text
    (tmp_path / "students.csv").write_text(text, encoding="utf8")
    assert entries(read_file(tmp_path / "students.csv")) == [
        *people[:3],
        RosterEntry("null", "", "", ""),
    ]


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"missing\.csv cannot be read: No such file"):
        read_file(tmp_path / "missing.csv")
    with pytest.raises(TableError, match="cannot be read: Is a directory"):
        read_file(tmp_path)


def test_lists_of_courses() -> None:
    text = "Course;Instructors\nphysics;ada, bob\nÖkonomie II;\nphysics;ada;\nmaths;eve fay\n"
    assert parse_courses(text.encode("cp1252")) == {
        "physics": ["ada", "bob"],
        "Ökonomie II": [],
        "maths": ["eve", "fay"],
    }
    with pytest.raises(TableError, match=r"line 2 has a slash in its course a/b"):
        parse_courses(b"course,instructors\na/b,ada\n")
    with pytest.raises(TableError, match="there is no course in the file"):
        parse_courses(b"course,instructors\n")
    assert parse_courses(b"course\nphysics\n") == {"physics": []}

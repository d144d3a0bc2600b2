"""Folders as trees to be sent: nbgrader's filters, and what is refused by name."""

from __future__ import annotations

import hashlib
import os
import socket
from pathlib import Path

import pytest

from ngshare.exchange.local_trees import scan_tree
from ngshare.exchange.service_error import ServiceError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "ps1"
    write(folder, {"p1.ipynb": b"{}", "data/deep/x.csv": b"1,2"})
    return folder


def write(folder: Path, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def names(folder: Path, **filters: object) -> list[str]:
    return [file.path for file in scan_tree(folder, **filters).files]  # type: ignore[arg-type]


def refusal(folder: Path, **filters: object) -> str:
    with pytest.raises(ServiceError) as caught:
        scan_tree(folder, **filters)  # type: ignore[arg-type]
    assert "\n" not in caught.value.message
    return caught.value.message


def test_paths_digests_and_sizes(folder: Path) -> None:
    tree = scan_tree(folder)
    assert [(file.path, file.sha256, file.size) for file in tree.files] == [
        ("data/deep/x.csv", hashlib.sha256(b"1,2").digest(), 3),
        ("p1.ipynb", hashlib.sha256(b"{}").digest(), 2),
    ]
    lines = "".join(f"{file.sha256.hex()}  {file.path}\n" for file in tree.files)
    assert tree.digest == hashlib.sha256(lines.encode()).hexdigest()
    assert tree.size == 5
    assert b"".join(tree.files[0].read()) == b"1,2"


def test_names_that_nothing_is_wrong_with(tmp_path: Path) -> None:
    odd = [
        "a+b",
        "(1) [x] *.ipynb",
        "c d%20#",
        "o'hara",
        ".hidden",
        "\u00fc",
        "u\u0308",
        "timestamp.txt",
    ]
    write(tmp_path, dict.fromkeys(odd, b""))
    assert names(tmp_path) == sorted(odd, key=str.encode)


def test_ignore_leaves_out_files_and_whole_folders(folder: Path) -> None:
    write(folder, {".ipynb_checkpoints/p1-checkpoint.ipynb": b"", "a.pyc": b"", "data/a.pyc": b""})
    assert names(folder, ignore=[".ipynb_checkpoints", "*.pyc"]) == ["data/deep/x.csv", "p1.ipynb"]
    assert names(folder, ignore=["data", "*.pyc", ".i*"]) == ["p1.ipynb"]


def test_include_and_max_file_size_concern_files_alone(folder: Path) -> None:
    write(folder, {"data/large.csv": bytes(2001), "data/fits.csv": bytes(2000)})
    assert names(folder, include=["*.csv"], max_file_size=2) == ["data/deep/x.csv", "data/fits.csv"]


def test_a_folder_above_max_dir_size_is_refused(folder: Path) -> None:
    write(folder, {"a": bytes(1995)})
    assert len(names(folder, max_dir_size=2)) == 3
    write(folder, {"b": b"1"})
    assert "max_dir_size" in refusal(folder, max_dir_size=2)


def test_links_inside_the_folder_count_as_what_they_lead_to(folder: Path) -> None:
    (folder / "link").symlink_to("data")
    (folder / "same.ipynb").symlink_to(folder / "p1.ipynb")
    assert names(folder) == ["data/deep/x.csv", "link/deep/x.csv", "p1.ipynb", "same.ipynb"]


def test_the_folder_itself_may_be_a_link(folder: Path) -> None:
    (folder.parent / "other").symlink_to(folder)
    assert names(folder.parent / "other") == ["data/deep/x.csv", "p1.ipynb"]


@pytest.mark.parametrize(
    ("link", "target", "says"),
    [
        ("data/gone", "nothing", "data/gone is a link to nothing"),
        ("data/self", "self", "data/self is a link to nothing"),
        ("data/up", "..", "data/up is a link to a folder around it"),
        ("data/here", ".", "data/here is a link to a folder around it"),
        ("data/secret", "/etc/passwd", "data/secret is a link that leads out of the folder"),
        ("data/beside", "../../ps10/x", "data/beside is a link that leads out of the folder"),
    ],
)
def test_links_that_cannot_be_sent(folder: Path, link: str, target: str, says: str) -> None:
    write(folder.parent, {"ps10/x": b"of somebody else"})
    (folder / link).symlink_to(target)
    assert says in refusal(folder)
    assert names(folder, ignore=[Path(link).name]) == ["data/deep/x.csv", "p1.ipynb"]


def test_two_folders_that_link_to_each_other(folder: Path) -> None:
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    (folder / "a" / "to-b").symlink_to("../b")
    (folder / "b" / "to-a").symlink_to("../a")
    assert "is a link to a folder around it" in refusal(folder)


def test_links_that_multiply_files_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ngshare.exchange.local_trees.MAX_FILES", 1000)
    write(tmp_path, {"0/file": b""})
    for level in range(1, 40):
        (tmp_path / str(level)).mkdir()
        for twin in "ab":
            (tmp_path / str(level) / twin).symlink_to(f"../{level - 1}")
    assert "more than 1000 files" in refusal(tmp_path)


def test_what_is_no_file(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    assert "pipe is neither a file nor a folder" in refusal(folder)
    (folder / "pipe").unlink()
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(os.path.relpath(folder / "sock"))
        assert "sock is neither a file nor a folder" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("back\\slash", "has a backslash"),
        ("new\nline", "has a control character"),
        (os.fsdecode(b"latin-\xfc"), "surrogate"),
    ],
)
def test_names_that_the_service_refuses(folder: Path, name: str, says: str) -> None:
    (folder / "data" / name).write_bytes(b"")
    message = refusal(folder)
    assert says in message
    assert "data/" in message
    message.encode()  # it can be printed


def test_files_that_cannot_be_read(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open

    def deny(path: Path, *args: str) -> object:
        if path.name == "x.csv":
            raise PermissionError(13, "Permission denied")
        return real(path, *args)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", deny)  # root may read all
    assert refusal(folder) == "data/deep/x.csv cannot be read: Permission denied"


def test_a_folder_that_does_not_exist(tmp_path: Path) -> None:
    assert "cannot be read" in refusal(tmp_path / "nothing")


@pytest.mark.parametrize("changed", [b"4,5", b"1,2,3", b""])
def test_a_file_that_changes_after_the_scan_is_noticed(folder: Path, changed: bytes) -> None:
    (file, _) = scan_tree(folder).files
    file.absolute.write_bytes(changed)
    with pytest.raises(ServiceError, match=r"data/deep/x\.csv changed while it was sent"):
        list(file.read())


def test_a_file_that_is_removed_after_the_scan_is_noticed(folder: Path) -> None:
    (file, _) = scan_tree(folder).files
    file.absolute.unlink()
    with pytest.raises(ServiceError, match=r"data/deep/x\.csv cannot be read"):
        list(file.read())

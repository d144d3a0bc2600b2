"""Manifests of trees, and the digest of a tree."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from ngshare.errors import BadRequest
from ngshare.protocol.manifests import (
    ManifestFile,
    format_manifest,
    parse_manifest,
    tree_digest,
)

CONTENTS = {"b/x.csv": b"1,2", "a.ipynb": b"{}", "b/ä.txt": b"", "b.txt": b"b"}


def manifest() -> list[ManifestFile]:
    return [
        ManifestFile(path, hashlib.sha256(content).digest(), len(content))
        for path, content in CONTENTS.items()
    ]


def test_a_manifest_survives_its_json() -> None:
    assert parse_manifest(format_manifest(manifest())) == manifest()


def test_the_digest_is_that_of_what_sha256sum_prints(tmp_path: Path) -> None:
    for path, content in CONTENTS.items():
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    command = ["sha256sum", *sorted(CONTENTS, key=str.encode)]
    printed = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True).stdout
    assert tree_digest(manifest()) == hashlib.sha256(printed).digest()


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        ["a"],
        [{"path": "a", "size": 1}],
        [{"path": "a", "size": 1, "sha256": "A" * 64}],
        [{"path": "a", "size": 1, "sha256": "0" * 63}],
        [{"path": "../a", "size": 1, "sha256": "0" * 64}],
        [{"path": 1, "size": 1, "sha256": "0" * 64}],
        [{"path": "a", "size": -1, "sha256": "0" * 64}],
        [{"path": "a", "size": True, "sha256": "0" * 64}],
        [{"path": "a", "size": 2**63, "sha256": "0" * 64}],
        [{"path": "a", "size": "1", "sha256": "0" * 64}],
        [{"path": "a", "size": 1, "sha256": "0" * 64}] * 2,
        [{"path": p, "size": 1, "sha256": "0" * 64} for p in ("a", "a/b")],
    ],
)
def test_a_malformed_manifest_is_refused(value: object) -> None:
    with pytest.raises(BadRequest):
        parse_manifest(value)

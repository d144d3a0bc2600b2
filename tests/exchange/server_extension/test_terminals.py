"""Terminals of the user's server find the commands of its environment."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from ngshare.exchange.server_extension.terminals import shell_command


@pytest.mark.parametrize("shell", ["/bin/bash", "/bin/sh"])
@pytest.mark.parametrize("folder", ["programs", "pro grams", "it's"])
def test_a_login_shell_finds_the_commands(shell: str, folder: str, tmp_path: Path) -> None:
    programs = tmp_path / folder
    programs.mkdir()
    (programs / "ngshare-of-the-test").write_text("#!/bin/sh\necho found\n")
    (programs / "ngshare-of-the-test").chmod(0o755)
    (tmp_path / ".profile").write_text("PATH=/usr/bin:/bin; SEEN=read; export SEEN")
    result = subprocess.run(
        shell_command(shell, str(programs)),
        input='ngshare-of-the-test; echo "$SEEN"\n',
        env={"HOME": str(tmp_path), "PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stdout.split() == ["found", "read"], result.stderr

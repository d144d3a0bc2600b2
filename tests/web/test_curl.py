"""The session with curl that docs/api.md shows, as it stands there, with tokens of a Hub."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from tornado.web import Application

from tests.conftest import ADMIN, PREFIX
from tests.hubstub import HubStub
from tests.require import require

DOCS = Path(__file__).parents[2] / "docs" / "api.md"


@pytest.fixture
def app(hub_app: Application, hub: HubStub) -> Application:
    for name in (ADMIN, "ada", "sam"):
        hub.add(f"of-{name}", name)
    return hub_app


@pytest.mark.gen_test
async def test_the_session_that_is_shown_works(
    http_server: object, base_url: str, tmp_path: Path
) -> None:
    require(shutil.which("curl") is not None, "curl", "apt-get install curl")
    (session,) = re.findall(r"```bash\n(.*?)```", DOCS.read_text(), re.DOTALL)
    process = await asyncio.create_subprocess_exec(
        *("bash", "-eu", "-o", "pipefail", "-c", session),
        cwd=tmp_path,
        env={
            "PATH": os.environ["PATH"],
            "URL": base_url + PREFIX.rstrip("/"),
            "ADMIN": f"of-{ADMIN}",
            "ADA": "of-ada",
            "SAM": "of-sam",
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert (process.returncode, err.decode()) == (0, ""), out
    replies = [json.loads(reply) for reply in out.decode().replace("}{", "}\n{").splitlines()]
    assert all(reply["success"] for reply in replies)
    assert [status["username"] for status in replies[1]["status"]] == ["sam"]
    assert [each["student_id"] for each in replies[4]["submissions"]] == ["sam"]
    (feedback,) = replies[-1]["files"]
    assert base64.b64decode(feedback["content"]) == b"<p>Well done</p>\n"

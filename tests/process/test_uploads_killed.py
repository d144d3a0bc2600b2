"""Killed in the middle of uploads in parts and of trees: every submission is there once, whole."""

from __future__ import annotations

import hashlib
import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from tests.databases import with_both
from tests.process.site import ADMIN, Server, Site, wait_for
from tests.process.test_crash import STUDENTS, assert_no_row_without_its_bytes, prepare

KILLS = 3
PART = 20_000
RELEASED = b"a"
"""The content of the release, which is never sent."""


class Uploader:
    """A student whose client sends a large file in parts and submits it, again and again.

    After a failure it asks how much has arrived, goes on there, and repeats its key.
    ``submitted`` has the digests of the large files by the time of their submissions.
    """

    def __init__(self, student: str, seed: int) -> None:
        self.student = student
        self.chance = random.Random(seed)
        self.server: Server
        self.stop = threading.Event()
        self.submitted: dict[str, str] = {}

    def run(self) -> None:
        number = 0
        while not self.stop.is_set():
            number += 1
            content = self.chance.randbytes(self.chance.randint(2 * PART, 4 * PART))
            while (timestamp := self._attempt(content, f"key-{number}")) is None:
                time.sleep(0.02)
            assert timestamp not in self.submitted
            self.submitted[timestamp] = hashlib.sha256(content).hexdigest()

    def _attempt(self, content: bytes, key: str) -> str | None:
        """Return the time of the submission; None when the service was killed meanwhile."""
        digest = hashlib.sha256(content).hexdigest()
        manifest = [
            {"path": "large", "sha256": digest, "size": len(content)},
            {"path": "a.txt", "sha256": hashlib.sha256(RELEASED).hexdigest(), "size": 1},
        ]
        files = json.dumps({"files": manifest}).encode()
        try:
            json_type = {"Content-Type": "application/json"}
            asked = self._send("POST", "tree/missing/c/a", files, json_type)
            if digest in asked["missing"]:
                for start in range(asked["received"].get(digest, 0), len(content), PART):
                    query = {"start": str(start), "size": str(len(content))}
                    part = content[start : start + PART]
                    self._send("PUT", f"part/c/{digest}", part, query=query)
            headers = {"Idempotency-Key": key}
            reply = self._send("POST", "tree/submission/c/a", files + b"\n", headers)
            return str(reply["timestamp"])
        except (OSError, http.client.HTTPException):
            return None

    def _send(
        self,
        method: str,
        path: str,
        body: bytes,
        headers: dict[str, str] | None = None,
        query: dict[str, str] | None = None,
    ) -> dict[str, Any]:
        with self.server.client(self.student) as client:
            target = f"/api/{path}?{urlencode({'user': self.student, **(query or {})})}"
            client.connection.request(method, target, body, headers or {})
            response = client.connection.getresponse()
            reply = json.loads(response.read())
        assert response.status == 200, reply
        return dict(reply)


def wait_for_more(total: Callable[[], int]) -> None:
    before = total()
    wait_for("submissions", lambda: total() > before + 3)


@with_both
def test_killed_in_the_middle_of_uploads(migrated_site: Site, chance: random.Random) -> None:
    server = migrated_site.start()
    prepare(server)
    uploaders = [Uploader(student, chance.getrandbits(32)) for student in STUDENTS]
    threads = [threading.Thread(target=uploader.run) for uploader in uploaders]
    for uploader in uploaders:
        uploader.server = server
    for thread in threads:
        thread.start()

    def total() -> int:
        return sum(len(uploader.submitted) for uploader in uploaders)

    try:
        for _ in range(KILLS):
            wait_for_more(total)
            time.sleep(chance.uniform(0, 0.3))
            server.kill()
            server = migrated_site.start()
            for uploader in uploaders:
                uploader.server = server
    finally:
        for uploader in uploaders:
            uploader.stop.set()
        for thread in threads:
            thread.join()
    with server.client(ADMIN) as ada:
        listed = ada.get("submissions", "c", "a").json["submissions"]
        for uploader in uploaders:
            times = {each["timestamp"] for each in listed if each["student_id"] == uploader.student}
            assert times == uploader.submitted.keys()
            for timestamp, digest in uploader.submitted.items():
                files = ada.collect("c", "a", uploader.student, timestamp)
                assert hashlib.sha256(files["large"]).hexdigest() == digest
                assert files["a.txt"] == RELEASED
    assert server.stop() == 0
    assert_no_row_without_its_bytes(migrated_site)

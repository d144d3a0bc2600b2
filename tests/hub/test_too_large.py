"""What is too large, sent through the Hub's proxy as students send it."""

from __future__ import annotations

from collections.abc import Iterator

from tests.hub.running import RunningHub


class Ballast:
    """A body of so many bytes, which are made when they are sent."""

    def __init__(self, size: int) -> None:
        self.size = self.left = size

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[bytes]:
        while part := self.read(2**16):
            yield part

    def read(self, size: int) -> bytes:
        part = b"x" * min(size, self.left)
        self.left -= len(part)
        return part


def test_a_student_reads_why_a_submission_is_too_large(hub: RunningHub) -> None:
    """The proxy must be left the time to see the reply: else it says that nothing answers."""
    token = hub.make_user("sam")
    for _ in range(10):
        body = Ballast(600 * 2**20)
        reply = hub.ask("POST", "submission/c/a", token, data=body)
        assert reply.status_code == 413, reply.text
        assert reply.json()["message"].startswith("The request is larger than 512 MiB")
        assert body.left

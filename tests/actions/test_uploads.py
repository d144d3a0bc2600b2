"""Files that are uploaded in parts: what an upload that ends late must not change."""

from __future__ import annotations

from ngshare.actions import uploads
from ngshare.actions.uploads import Part, UploadLimits
from tests.actions.conftest import COURSE, INSTRUCTOR, STUDENT, Act

LIMITS = UploadLimits(100, None)
MINE, OTHER = bytes([1]) * 32, bytes([2]) * 32


def test_an_upload_that_ends_late_does_not_complete_the_one_with_its_former_id(act: Act) -> None:
    """SQLite gives the id of a deleted row to the next one."""
    state = act(uploads.add_part, STUDENT, COURSE, MINE, 1, Part(0, MINE, 1), LIMITS)
    act(uploads.forget_upload, STUDENT, state.id, MINE)
    act(uploads.add_part, STUDENT, COURSE, OTHER, 2, Part(0, MINE, 1), LIMITS)
    act(uploads.complete_upload, STUDENT, state.id, MINE, bytes(16))
    act(uploads.forget_upload, STUDENT, state.id, MINE)
    assert act(uploads.find_received, STUDENT, COURSE, OTHER) == 1


def test_only_who_uploads_a_file_completes_it(act: Act) -> None:
    state = act(uploads.add_part, STUDENT, COURSE, MINE, 2, Part(0, MINE, 1), LIMITS)
    act(uploads.complete_upload, INSTRUCTOR, state.id, MINE, bytes(16))
    assert act(uploads.find_received, STUDENT, COURSE, MINE) == 1
    act(uploads.complete_upload, STUDENT, state.id, MINE, bytes(16))
    assert act(uploads.find_received, STUDENT, COURSE, MINE) is None

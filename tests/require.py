"""What a test needs from the machine. Without it the test is skipped; in CI it fails."""

import os

import pytest


def require(found: bool, what: str, how: str) -> None:
    """Skip the test unless `found`, or fail it when NGSHARE_REQUIRE_ALL=1.

    what: what is needed, in a few words. how: how to get it.
    """
    if found:
        return
    message = f"{what} is missing: {how}"
    if os.environ.get("NGSHARE_REQUIRE_ALL") == "1":
        pytest.fail(message)
    pytest.skip(message)

"""A Hub that is killed leaves its service behind; the next Hub launches another one."""

from __future__ import annotations

from pathlib import Path

from tests.hub.browser import Browser
from tests.hub.running import RunningHub, wait_for


def test_the_next_hub_has_a_service_that_knows_it(proxy_program: Path, tmp_path: Path) -> None:
    hub = RunningHub(tmp_path, proxy_program, args=["--workers", "2"])
    try:
        hub.start()
        token = hub.make_user("ada")
        assert hub.ask("POST", "course/kept", token).status_code == 200
        before = hub.workers()
        hub.kill_hub()
        hub.start_hub()
        hub.wait_for_service()
        # The service of the killed Hub has a token that this Hub never gave.
        wait_for(lambda: hub.ask("GET", "courses", token).status_code == 200, "an answer")
        assert hub.ask("GET", "courses", token).json()["courses"] == ["kept"]
        assert set(hub.workers()).isdisjoint(before)
        with Browser(hub) as browser:
            assert "Hello, ada" in browser.visit_and_log_in(hub.ngshare, "ada").text
        assert "cannot listen" not in hub.log()
    finally:
        hub.stop()

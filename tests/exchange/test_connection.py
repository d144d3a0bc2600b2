"""Requests to the service: what is repeated, what is followed, and what a user is told."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest

from ngshare.exchange.address import Address
from ngshare.exchange.connection import Connection, ServiceError
from tests.exchange.scripted_server import ScriptedServer, answer, close, cut, scripted_server

TOKEN = "0123456789abcdef-secret"
FINE = answer(200, {"success": True})


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with scripted_server() as script:
        yield script


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds between attempts, which the test does not wait."""
    waited: list[float] = []
    monkeypatch.setattr("ngshare.exchange.connection.time.sleep", waited.append)
    return waited


def connect(url: str, *, token: str | None = TOKEN, seconds: float = 120) -> Connection:
    log = logging.getLogger("tests.exchange.connection")
    log.setLevel(logging.DEBUG)
    return Connection(Address(url, token, "ann"), log, retry_seconds=seconds)


def refusal(server: ScriptedServer, method: str = "GET", **options: Any) -> ServiceError:
    with pytest.raises(ServiceError) as caught:
        connect(server.url, seconds=0).request_json(method, "courses", **options)
    return caught.value


def test_names_are_quoted_and_the_token_goes_into_a_header(server: ScriptedServer) -> None:
    server.replies = [FINE]
    connect(server.url).request_json("GET", "course", "a/b ü%#?", params={"a": "ö&"})
    (request,) = server.requests
    assert request.target == "/services/ngshare/course/a%2Fb%20%C3%BC%25%23%3F?a=%C3%B6%26"
    assert request.headers["authorization"] == f"token {TOKEN}"


def test_without_a_token_the_user_is_named_in_the_query_or_in_the_form(
    server: ScriptedServer,
) -> None:
    server.replies = [FINE]
    connection = connect(server.url, token=None)
    connection.request_json("GET", "courses")
    connection.request_json("POST", "course", "c", form={"x": "1"})
    connection.request_json("POST", "tree", body=b"bytes")
    query, form, body = server.requests
    assert query.target.endswith("?user=ann")
    assert (form.target.partition("?")[2], form.body) == ("", b"x=1&user=ann")
    assert (body.target.partition("?")[2], body.body) == ("user=ann", b"bytes")
    assert "authorization" not in query.headers


@pytest.mark.parametrize("name", ["", ".", ".."])
def test_names_that_would_lead_to_another_request_are_refused(
    server: ScriptedServer, name: str
) -> None:
    with pytest.raises(ServiceError, match="cannot be the name"):
        connect(server.url).request_json("DELETE", "course", name)
    assert server.requests == []


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    "reply", [close, cut(b'{"success": tr', 20), answer(502, b"<html>"), answer(503, b"")]
)
def test_what_fails_for_a_passing_reason_is_repeated_if_that_is_safe(
    server: ScriptedServer, pauses: list[float], method: str, reply: Any
) -> None:
    server.replies = [reply, reply, answer(200, {"success": True, "n": 1})]
    options: dict[str, Any] = {} if method == "GET" else {"body": b"all", "repeatable": True}
    value = connect(server.url).request_json(method, "courses", **options)
    assert value["n"] == 1
    assert len(server.requests) == 3
    assert {request.body for request in server.requests} == {options.get("body", b"")}
    assert len(pauses) == 2
    assert 0.25 <= pauses[0] <= 0.75  # with jitter
    assert 0.5 <= pauses[1] <= 1.5


@pytest.mark.parametrize(
    "reply", [close, cut(b'{"success": tr', 20), answer(502, b"<html>"), answer(503, b"")]
)
def test_what_is_not_safe_to_repeat_is_sent_once(
    server: ScriptedServer, pauses: list[float], reply: Any
) -> None:
    server.replies = [reply, FINE]
    with pytest.raises(ServiceError):
        connect(server.url).request_json("POST", "course", "c", form={})
    assert len(server.requests) == 1
    assert pauses == []


@pytest.mark.parametrize("status", [429, 503])
def test_retry_after_is_honoured_for_every_request_that_the_service_refused(
    server: ScriptedServer, pauses: list[float], status: int
) -> None:
    refused = answer(status, {"success": False, "message": "Later"}, Retry_After="7")
    server.replies = [refused, FINE]
    connect(server.url).request_json("POST", "course", "c", form={})
    assert pauses == [7.0]
    assert len(server.requests) == 2


def test_retry_after_as_a_date(server: ScriptedServer, pauses: list[float]) -> None:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=100), usegmt=True)
    server.replies = [answer(503, b"", Retry_After=date), FINE]
    connect(server.url).request_json("GET", "courses")
    assert 50 < pauses[0] <= 100


def test_who_is_asked_to_come_back_too_late_is_told_at_once(
    server: ScriptedServer, pauses: list[float]
) -> None:
    refused = answer(503, {"success": False, "message": "Come back in an hour"}, Retry_After="3600")
    server.replies = [refused]
    with pytest.raises(ServiceError, match="Come back in an hour"):
        connect(server.url).request_json("GET", "courses")
    assert pauses == []


def test_attempts_end(
    server: ScriptedServer, pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = [close]
    clock = [0.0]
    monkeypatch.setattr(
        "ngshare.exchange.connection.time.monotonic", lambda: clock[0] + sum(pauses)
    )
    with pytest.raises(ServiceError, match="broke; try again"):
        connect(server.url).request_json("GET", "courses")
    assert 60 < sum(pauses) <= 120
    assert max(pauses) <= 30


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirected_post_stays_a_post(server: ScriptedServer, status: int) -> None:
    target = f"http://127.0.0.1:{server.port}/base/services/ngshare/course/c"
    server.replies = [answer(status, b"", Location=target), FINE]
    connect(server.url).request_json("POST", "course", "c", form={"x": "1"})
    first, second = server.requests
    assert (second.method, second.target, second.body) == (
        "POST",
        "/base/services/ngshare/course/c",
        first.body,
    )
    assert second.headers["authorization"] == f"token {TOKEN}"


def test_redirects_that_go_in_a_circle_end(server: ScriptedServer) -> None:
    server.replies = [answer(302, b"", Location=server.url + "/courses")]
    assert "leads elsewhere" in refusal(server).message
    assert len(server.requests) < 10


def test_a_token_is_not_sent_to_another_host(server: ScriptedServer) -> None:
    server.replies = [answer(302, b"", Location=f"http://localhost:{server.port}/x"), FINE]
    assert f"http://localhost:{server.port}/x" in refusal(server).message
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (answer(302, b"", Location="/hub/login?next=%2Fhub"), "Restart your server on the Hub"),
        (answer(302, b"", Location="/hub/api/oauth2/authorize?x"), "Restart your server"),
        (answer(302, b"", Location="/hub/services/ngshare/courses"), "The Hub has no exchange at"),
        (answer(200, b"<html>Log in"), "Something that is not the exchange answered"),
        (answer(200, {"hello": 1}), "Something that is not the exchange answered"),
        (answer(401, {"success": False, "message": "Unknown token"}), "Unknown token. Restart"),
        (answer(401, b"<html>"), "The Hub does not accept your server's token"),
        (answer(403, b"<html>"), "access:services!service=ngshare"),
        (answer(403, {"success": False, "message": "Permission denied"}), "Permission denied"),
        (answer(404, b"<html>"), "There is no exchange at"),
        (answer(404, {"success": False, "message": "Not Found"}), "There is no exchange at"),
        (answer(404, {"success": False, "message": "Course not found"}), "Course not found"),
        (answer(413, b"<html>nginx"), "client_max_body_size"),
        (answer(413, {"success": False, "message": "Above max_body"}), "Above max_body"),
        (answer(429, b"slow down"), "takes no more requests now"),
        (answer(500, {"success": False, "message": "Server error"}), "Server error"),
        (answer(502, b"<html>Bad gateway"), "not running, or too busy"),
        (answer(503, b"<html>"), "not running, or too busy"),
        (answer(507, {"success": False, "message": "The disk is full"}), "The disk is full"),
        (close, "broke; try again"),
        (cut(b"{", 100), "broke; try again"),
    ],
)
def test_a_failure_is_one_sentence(server: ScriptedServer, reply: Any, says: str) -> None:
    server.replies = [reply]
    error = refusal(server, "POST", form={})
    assert says in error.message
    assert "\n" not in error.message
    assert "<html>" not in error.message
    assert len(server.requests) == 1


def test_a_hub_without_a_token_says_where_there_is_one(server: ScriptedServer) -> None:
    server.replies = [answer(401, {"success": False, "message": "Please log in"})]
    with pytest.raises(ServiceError, match="run this in your server on the Hub"):
        connect(server.url, token=None).request_json("GET", "courses")


def test_an_unknown_request_is_told_from_an_unknown_course(server: ScriptedServer) -> None:
    server.replies = [answer(404, {"success": False, "message": "Course not found"})]
    assert not refusal(server).unknown_path
    server.replies = [answer(404, {"success": False, "message": "Not Found"})]
    assert refusal(server).unknown_path
    server.replies = [answer(404, b"<html>404")]
    assert refusal(server).unknown_path


def test_the_digests_that_the_service_asks_for_are_in_the_error(server: ScriptedServer) -> None:
    server.replies = [answer(409, {"success": False, "message": "Send", "missing": ["ab"]})]
    assert refusal(server).missing == ["ab"]


def test_nothing_listens_there() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServiceError, match="Nothing answers at"):
            connect(url, seconds=0).request_json("GET", "courses")


def test_a_post_that_was_never_sent_is_repeated(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.replies = [FINE]
    real, refused = socket.socket.connect, [True]

    def refuse_once(self: socket.socket, address: Any) -> None:
        if refused:
            refused.pop()
            raise ConnectionRefusedError
        real(self, address)

    monkeypatch.setattr("ngshare.exchange.connection.time.sleep", lambda _: None)
    monkeypatch.setattr(socket.socket, "connect", refuse_once)
    connect(server.url).request_json("POST", "course", "c", form={})
    assert len(server.requests) == 1


def test_a_host_that_does_not_exist() -> None:
    with pytest.raises(ServiceError, match="The host of the exchange's address"):
        connect("http://ngshare.invalid", seconds=0).request_json("GET", "courses")


def test_a_certificate_of_an_unknown_authority(server: ScriptedServer) -> None:
    from requests.exceptions import SSLError

    from ngshare.exchange.failures import explain_no_reply

    assert "REQUESTS_CA_BUNDLE" in explain_no_reply("https://hub", SSLError("CERTIFICATE_VERIFY"))


def test_no_reply_in_time(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    end = threading.Event()
    monkeypatch.setattr("ngshare.exchange.connection.READ_SECONDS", 0.05)
    server.replies = [lambda _: (end.wait(20), None)[1]]
    try:
        assert "does not answer in time" in refusal(server).message
    finally:
        end.set()


def test_the_token_is_in_no_error_and_in_no_log(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    messages = []
    for reply in (close, answer(500, b"<html>"), answer(302, b"", Location="/hub/login"), FINE):
        server.replies = [reply]
        connection = connect(server.url, seconds=0)
        try:
            connection.request_json("GET", "courses")
        except ServiceError as error:
            messages.append(repr(error) + str(error.__cause__))
        messages.append(repr(connection.address))
    assert len(server.requests) == 4
    assert all(request.headers["authorization"] for request in server.requests)
    assert TOKEN not in caplog.text + "".join(messages)
    assert "GET" in caplog.text

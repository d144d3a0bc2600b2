"""The address of the service: given, in the environment, or implied by a Hub's."""

from __future__ import annotations

import getpass
import socket
from collections.abc import Iterator

import pytest

from ngshare.exchange.address import Address, find_address, has_other_owner, hub_addresses
from ngshare.exchange.service_error import ServiceError
from tests.exchange.running_service import RunningService
from tests.exchange.scripted_server import answer, scripted_server

Z2JH = {
    "JUPYTERHUB_API_URL": "http://hub:8081/hub/api",
    "JUPYTERHUB_BASE_URL": "/",
    "KUBERNETES_SERVICE_HOST": "10.0.0.1",
}


@pytest.fixture(autouse=True)
def nothing_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ngshare.exchange.address._answered", {})


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield unused.getsockname()[1]


def test_the_argument_comes_before_the_environment() -> None:
    environ = {
        "NGSHARE_URL": "http://b/services/ngshare",
        "JUPYTERHUB_API_TOKEN": "secret",
        "JUPYTERHUB_USER": "ann",
    }
    argument = find_address(" https://a/services/ngshare/ ", environ)
    assert argument == Address("https://a/services/ngshare", "secret", "ann")
    assert find_address(None, environ).url == "http://b/services/ngshare"
    assert "secret" not in repr(argument)


def test_without_a_hub_the_user_is_the_one_of_the_computer() -> None:
    address = find_address("http://127.0.0.1:12121/api", {})
    assert address == Address("http://127.0.0.1:12121/api", None, getpass.getuser())


@pytest.mark.parametrize("url", ["hub/services", "ftp://hub", "http://", "http://[", "http://a:0"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(ServiceError, match="is no URL"):
        find_address(url, {})


def test_no_address_says_what_to_set() -> None:
    with pytest.raises(ServiceError, match="set NGSHARE_URL"):
        find_address(None, {})


def test_a_hub_of_one_machine() -> None:
    environ = {"JUPYTERHUB_API_URL": "http://127.0.0.1:8081/hub/api", "JUPYTERHUB_BASE_URL": "/"}
    assert list(hub_addresses(environ)) == ["http://127.0.0.1:8000/services/ngshare"]
    environ = {
        "JUPYTERHUB_API_URL": "http://[fd00::1]:8081/b/hub/api",
        "JUPYTERHUB_BASE_URL": "/b/",
    }
    environ["JUPYTERHUB_PUBLIC_HUB_URL"] = "https://hub.example.edu/b/hub/"
    assert list(hub_addresses(environ)) == [
        "https://hub.example.edu/b/services/ngshare",
        "http://[fd00::1]:8000/b/services/ngshare",
    ]


def test_zero_to_jupyterhub() -> None:
    names = ["http://proxy-http:8000/services/ngshare", "http://proxy-public:80/services/ngshare"]
    assert list(hub_addresses(Z2JH))[:2] == names
    told = {
        "PROXY_PUBLIC_SERVICE_HOST": "10.0.0.7",
        "PROXY_PUBLIC_SERVICE_PORT": "443",
        "PROXY_PUBLIC_SERVICE_PORT_HTTP": "80",
    }
    addresses = list(hub_addresses({**Z2JH, **told}))
    assert addresses[0] == "http://10.0.0.7:80/services/ngshare"
    told["PROXY_HTTP_SERVICE_HOST"] = "fd00::7"  # there when proxy-public only redirects
    assert next(hub_addresses({**Z2JH, **told})) == "http://[fd00::7]:8000/services/ngshare"


def test_the_names_of_a_release_in_another_namespace() -> None:
    environ = {
        "JUPYTERHUB_API_URL": "http://class-hub.jhub.svc:8081/base/hub/api",
        "JUPYTERHUB_BASE_URL": "/base",
    }
    assert list(hub_addresses(environ))[:2] == [
        "http://class-proxy-http.jhub.svc:8000/base/services/ngshare",
        "http://class-proxy-public.jhub.svc:80/base/services/ngshare",
    ]


@pytest.mark.parametrize("base", ["/services/ngshare", "/services/ngshare/"])
def test_the_address_that_answers_is_taken(
    running: RunningService, free_port: int, monkeypatch: pytest.MonkeyPatch, base: str
) -> None:
    with scripted_server() as redirecting:
        redirecting.replies = [answer(302, b"", Location=running.url)]
        addresses = [
            f"http://127.0.0.1:{free_port}{base}",
            redirecting.url,
            running.url,
        ]
        monkeypatch.setattr("ngshare.exchange.address.hub_addresses", lambda _: iter(addresses))
        assert find_address(None, {"JUPYTERHUB_API_TOKEN": "secret"}).url == running.url
        assert running.requests == ["GET /api/healthz"]
        find_address(None, {})  # it is remembered
        assert running.requests == ["GET /api/healthz"]
        assert len(redirecting.requests) == 1
        assert "authorization" not in redirecting.requests[0].headers


def test_if_none_answers_the_likeliest_is_taken_and_asked_again(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with scripted_server() as server:
        server.replies = [answer(200, {"success": False}), answer(200, {"success": True})]
        addresses = [f"http://127.0.0.1:{free_port}", server.url]
        monkeypatch.setattr("ngshare.exchange.address.hub_addresses", lambda _: iter(addresses))
        assert find_address(None, {}).url == addresses[0]
        assert find_address(None, {}).url == addresses[1]


def test_another_user_of_the_computer_does_not_get_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    api = "http://127.0.0.1:8081/hub/api"
    owners = {8000: {1001}, 8081: {998}}
    monkeypatch.setattr(
        "ngshare.exchange.address._port_owners", lambda port: owners.get(port, set())
    )
    assert has_other_owner("http://127.0.0.1:8000/services/ngshare", api)
    assert not has_other_owner("http://hub:8000/services/ngshare", "http://hub:8081/hub/api")
    with pytest.raises(ServiceError, match="set NGSHARE_URL"):
        find_address(None, {"JUPYTERHUB_API_URL": api})
    with scripted_server() as theirs:
        theirs.replies = [answer(200, {"success": True})]
        monkeypatch.setattr(
            "ngshare.exchange.address.hub_addresses", lambda _: iter([theirs.url, "http://hub/x"])
        )
        owners[theirs.port] = {1001}
        assert find_address(None, {"JUPYTERHUB_API_URL": api}).url == "http://hub/x"
        assert theirs.requests == []
    owners[8000] = {998}
    assert not has_other_owner("http://127.0.0.1:8000/services/ngshare", api)
    owners[8000] = {0}  # root, by whom everything can be read anyway
    assert not has_other_owner("http://127.0.0.1:8000/services/ngshare", api)


def test_the_owner_of_a_port() -> None:
    import os

    from ngshare.exchange.address import _port_owners

    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert _port_owners(port) == {os.getuid()}
    assert _port_owners(port) == set()

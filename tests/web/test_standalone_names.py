"""By which names a stand-alone service may be called."""

from __future__ import annotations

import socket

import pytest

from ngshare.web.auth.standalone import OwnNames

LOOPBACK = ["localhost", "Localhost.", "localhost:12121", "127.0.0.1:1", "127.1.2.3", "[::1]:80"]
ADDRESSES = ["10.0.0.7", "192.168.1.2:12121", "[2001:db8::1]:12121"]
OTHERS = ["evil.example", "evil.example:12121", "127.0.0.1.evil.example", "", ":80", "[evil", "a b"]


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", "127.0.0.2"])
def test_where_only_this_machine_is_served(host: str) -> None:
    names = OwnNames(host)
    assert all(map(names.include, LOOPBACK))
    assert not any(map(names.include, [*ADDRESSES, *OTHERS, "0.0.0.0", socket.gethostname() + "x"]))


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::", "10.0.0.7", "lab.example.edu"])
def test_where_it_is_open_to_the_network(host: str) -> None:
    names = OwnNames(host)
    own = socket.gethostname()
    assert all(map(names.include, [*LOOPBACK, *ADDRESSES, own, f"{own}:12121", f"{own}.local"]))
    assert not any(map(names.include, OTHERS))


def test_what_it_was_told() -> None:
    assert OwnNames("lab.example.edu").include("LAB.example.edu:12121")
    assert OwnNames("127.0.0.1", ["Lab.example.edu"]).include("lab.example.edu")
    assert not OwnNames("127.0.0.1", ["lab.example.edu"]).include("x.lab.example.edu")

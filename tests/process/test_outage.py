"""PostgreSQL goes away under a running service, and comes back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ngshare.db import migrate
from ngshare.db.urls import parse_url
from tests.postgres import Cluster, running_cluster
from tests.process.site import ADMIN, Client, Site, wait_for
from tests.process.test_crash import (
    ROUNDS,
    Acknowledged,
    assert_kept,
    assert_no_row_without_its_bytes,
    load,
    prepare,
    wait_for_more,
)

WORK = {"work.txt": b"work"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A server of this test's own, which survives a crash as it does in production."""
    with running_cluster() as cluster:
        yield cluster


@pytest.fixture
def own_site(cluster: Cluster, tmp_path: Path) -> Iterator[Site]:
    """A site whose database is on that server."""
    url = cluster.url(cluster.create())
    migrate.upgrade(parse_url(url))
    site = Site(tmp_path, url)
    yield site
    site.close()
    for server in site.servers:
        assert "Traceback" not in server.output
        assert "Internal error" not in server.output


def listed(ada: Client) -> list[str] | None:
    """The moments of the admin's submissions; None as long as the service has no database."""
    reply = ada.get("submissions", "c", "a", ADMIN)
    if reply.status == 503:
        return None
    return [one["timestamp"] for one in reply.json["submissions"]]


@pytest.mark.parametrize("mode", ["fast", "immediate"])
@pytest.mark.parametrize("arguments", [[], ["--workers=2", "--threads=4"]], ids=["one", "several"])
def test_it_goes_on_when_the_server_is_back(
    own_site: Site, cluster: Cluster, mode: str, arguments: list[str]
) -> None:
    server = own_site.start(*arguments)
    prepare(server)
    with server.client() as ada:
        first = ada.submit("c", "a", WORK).json["timestamp"]
        cluster.stop(mode)
        for _ in range(3):
            reply = ada.submit("c", "a", WORK)
            assert reply.status == 503
            assert int(reply.headers["Retry-After"]) > 0
            assert reply.json["message"].startswith(
                "The exchange's database does not answer; please try again"
            )
        assert server.healthy()  # restarting ngshare would not help
        assert "The database does not answer: " in server.output
        assert "ngshare tries again by itself" in server.output
        cluster.start()
        # On one connection, so of one worker: another may not have noticed yet.
        assert wait_for("the database to be back", lambda: listed(ada)) == [first]
        assert ada.submit("c", "a", WORK).status == 200
        assert len(listed(ada) or []) == 2
    assert "The database answers again, after" in server.output
    assert server.stop() == 0


def test_what_was_acknowledged_outlives_crashes_of_the_server(
    own_site: Site, cluster: Cluster
) -> None:
    server = own_site.start("--workers=2", "--threads=4")
    prepare(server)
    acknowledged = Acknowledged(refusal=503)
    with load(server, acknowledged):
        for _ in range(ROUNDS):
            wait_for_more(acknowledged)
            cluster.stop("immediate")
            cluster.start()
        wait_for_more(acknowledged)
    assert_kept(server, acknowledged)
    assert server.stop() == 0
    assert_no_row_without_its_bytes(own_site)


def test_connections_that_are_ended_are_nobodys_trouble(own_site: Site, cluster: Cluster) -> None:
    """As when an administrator ends them, in the middle of transactions: all is stored once."""
    server = own_site.start("--threads=4")
    prepare(server)
    acknowledged = Acknowledged(refusal=503)
    with load(server, acknowledged):
        for _ in range(5 * ROUNDS):
            wait_for_more(acknowledged)
            cluster.end_connections(str(parse_url(own_site.database).database))
    assert_kept(server, acknowledged)
    [(submissions,)] = own_site.rows("SELECT count(*) FROM submissions")
    unknown = server.output.count("Whether it is stored is not known")
    assert len(acknowledged.trees) <= submissions <= len(acknowledged.trees) + unknown
    assert server.stop() == 0

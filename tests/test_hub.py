"""One call for jupyterhub_config.py: what it adds, and that all else stays as the site has it."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from traitlets import List, Set, Unicode
from traitlets.config import Config, Configurable, PyFileConfigLoader

from ngshare.hub import DEFAULT_URL, MALLOC, configure_hub

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
SCOPE = "access:services!service=ngshare"
USER = {"name": "user", "scopes": ["self", SCOPE]}
SERVER = {
    "name": "server",
    "scopes": ["users:activity!user", "access:servers!server", SCOPE],
}

LAUNCH = [sys.executable, "-m", "ngshare", "--end-with-hub"]


@pytest.fixture
def c() -> Config:
    """What ``c`` is in a jupyterhub_config.py."""
    return Config()


def roles(c: Config) -> dict[str, Any]:
    return {role["name"]: role for role in c.JupyterHub.load_roles}


def test_with_nothing_configured_the_service_and_both_roles_are_added(c: Config) -> None:
    configure_hub(c, admins=["ada", "kevin"])
    assert c.JupyterHub.services == [
        {
            "name": "ngshare",
            "url": DEFAULT_URL,
            "oauth_no_confirm": True,
            "command": [*LAUNCH, "--admins", "ada,kevin"],
            "environment": MALLOC,
        }
    ]
    assert c.JupyterHub.load_roles == [USER, SERVER]
    assert "server_token_scopes" not in c.Spawner  # so the role counts


def test_everything_about_the_launched_service_can_be_said(c: Config) -> None:
    configure_hub(
        c,
        admins=iter(["ada"]),
        name="exchange",
        url="http://10.0.0.1:9",
        database="sqlite:////data/x.db",
        storage="/data/files",
        api_token="secret",
        args=("--debug", "--threads", "4"),
        environment={"TZ": "UTC"},
    )
    assert c.JupyterHub.services == [
        {
            "name": "exchange",
            "url": "http://10.0.0.1:9",
            "api_token": "secret",
            "oauth_no_confirm": True,
            "command": [
                *(*LAUNCH, "--admins", "ada"),
                *("--database", "sqlite:////data/x.db", "--storage", "/data/files"),
                *("--debug", "--threads", "4"),
            ],
            "environment": {**MALLOC, "TZ": "UTC"},
        }
    ]
    assert "access:services!service=exchange" in roles(c)["user"]["scopes"]
    assert "access:services!service=exchange" in roles(c)["server"]["scopes"]


def test_a_database_with_a_password_stands_on_no_command_line(c: Config) -> None:
    url = "postgresql://ngshare:hunter2@db/ngshare"
    given = {"TZ": "UTC"}
    configure_hub(c, database=url, environment=given)
    [service] = c.JupyterHub.services
    assert not [word for word in service["command"] if "hunter2" in word]
    assert service["environment"] == {**MALLOC, "TZ": "UTC", "NGSHARE_DATABASE": url}
    assert given == {"TZ": "UTC"}


def test_malloc_is_set_up_unless_the_site_does_it(c: Config) -> None:
    configure_hub(c, environment={"MALLOC_ARENA_MAX": "8"})
    assert c.JupyterHub.services[0]["environment"] == {**MALLOC, "MALLOC_ARENA_MAX": "8"}


@pytest.mark.parametrize("admins", ["ada", ["ada"], {"ada"}])
def test_one_admin_may_be_given_as_a_text(c: Config, admins: Any) -> None:
    configure_hub(c, admins=admins, args="--debug")
    assert c.JupyterHub.services[0]["command"][4:] == ["--admins", "ada", "--debug"]


def test_what_the_service_is_not_told_it_decides_itself(c: Config) -> None:
    configure_hub(c)
    assert c.JupyterHub.services[0]["command"] == LAUNCH


def test_services_and_roles_of_the_site_stay(c: Config) -> None:
    cull = {"name": "cull", "command": ["cull"]}
    culler = {"name": "culler", "services": ["cull"], "scopes": ["list:users"]}
    c.JupyterHub.services = [cull]
    c.JupyterHub.load_roles = [culler]
    configure_hub(c)
    assert c.JupyterHub.services[0] == cull
    assert [service["name"] for service in c.JupyterHub.services] == ["cull", "ngshare"]
    assert c.JupyterHub.load_roles == [culler, USER, SERVER]


def test_settings_may_be_tuples(c: Config) -> None:
    c.JupyterHub.services = ({"name": "cull"},)
    c.JupyterHub.load_roles = ({"name": "culler", "scopes": ("list:users",)},)
    configure_hub(c)
    assert [service["name"] for service in c.JupyterHub.services] == ["cull", "ngshare"]
    assert [role["name"] for role in c.JupyterHub.load_roles] == ["culler", "user", "server"]


def test_settings_that_were_appended_to_stay(c: Config) -> None:
    """``c.X.y.append(...)`` does not make a list, but a record of the call."""
    c.JupyterHub.services.append({"name": "cull", "command": ["cull"]})
    c.JupyterHub.services.extend([{"name": "other"}])
    c.JupyterHub.load_roles.append({"name": "user", "description": "everybody"})
    c.JupyterHub.extra_user_scopes.update({"list:services"})
    c.Spawner.server_token_scopes.append("read:users!user")
    configure_hub(c)
    assert [each["name"] for each in c.JupyterHub.services] == ["cull", "other", "ngshare"]
    assert roles(c)["user"] == {
        "name": "user",
        "description": "everybody",
        "scopes": ["self", "list:services", SCOPE],
    }
    assert c.Spawner.server_token_scopes == ["read:users!user", SCOPE]


def test_settings_that_were_only_looked_at_are_as_if_unset(c: Config) -> None:
    assert [c.JupyterHub.services, c.JupyterHub.load_roles, c.JupyterHub.extra_user_scopes]
    assert [c.Spawner.server_token_scopes]
    configure_hub(c)
    assert len(c.JupyterHub.services) == 1
    assert c.JupyterHub.load_roles == [USER, SERVER]
    assert c.Spawner.server_token_scopes == []  # which is the role, for the Hub


def test_what_is_made_is_what_jupyterhub_reads(c: Config) -> None:
    class JupyterHub(Configurable):
        services = List(config=True)
        load_roles = List(config=True)
        extra_user_scopes = Set(Unicode(), config=True)

    c.JupyterHub.services.append({"name": "cull"})
    c.JupyterHub.extra_user_scopes.add("list:services")
    configure_hub(c)
    app = JupyterHub(config=c)
    assert [service["name"] for service in app.services] == ["cull", "ngshare"]
    assert app.load_roles[0]["scopes"] == ["self", "list:services", SCOPE]


@pytest.mark.parametrize(
    ("role", "scopes"),
    [
        ({"name": "user"}, ["self", SCOPE]),
        ({"name": "user", "scopes": ["self", "groups"]}, ["self", "groups", SCOPE]),
        ({"name": "user", "scopes": []}, [SCOPE]),
        ({"name": "user", "scopes": [SCOPE, "self"]}, [SCOPE, "self"]),
        ({"name": "server"}, SERVER["scopes"]),
        ({"name": "server", "scopes": ["inherit"]}, ["inherit", SCOPE]),
    ],
)
def test_a_role_of_the_sites_keeps_its_scopes(
    c: Config, role: dict[str, Any], scopes: list[str]
) -> None:
    c.JupyterHub.load_roles = [{**role, "description": "ours"}]
    configure_hub(c)
    assert roles(c)[role["name"]] == {"name": role["name"], "description": "ours", "scopes": scopes}
    assert len(c.JupyterHub.load_roles) == 2


def test_extra_user_scopes_stay_granted(c: Config) -> None:
    """JupyterHub ignores them when the role says its scopes, and warns of that."""
    c.JupyterHub.extra_user_scopes = {"list:services", "groups"}
    configure_hub(c)
    assert roles(c)["user"]["scopes"] == ["self", "groups", "list:services", SCOPE]
    assert "extra_user_scopes" not in c.JupyterHub


def test_extra_user_scopes_that_jupyterhub_ignores_are_left_to_it(c: Config) -> None:
    c.JupyterHub.extra_user_scopes = {"groups"}
    c.JupyterHub.load_roles = [{"name": "user", "scopes": ["self"]}]
    configure_hub(c)
    assert roles(c)["user"]["scopes"] == ["self", SCOPE]
    assert c.JupyterHub.extra_user_scopes == {"groups"}


@pytest.mark.parametrize("section", ["Spawner", "KubeSpawner"])
def test_configured_scopes_of_server_tokens_get_one_more(c: Config, section: str) -> None:
    c[section].server_token_scopes = ["users:activity!user", "self"]
    configure_hub(c)
    assert c[section].server_token_scopes == ["users:activity!user", "self", SCOPE]


async def _later(scopes: list[str]) -> list[str]:
    return scopes


@pytest.mark.parametrize("answer", [list, set, _later], ids=["list", "set", "coroutine"])
def test_a_function_for_the_scopes_of_server_tokens_gets_one_more(
    c: Config, answer: Callable[[list[str]], Any]
) -> None:
    """JupyterHub calls it with the spawner, and awaits what it returns if that can be."""
    c.Spawner.server_token_scopes = lambda spawner: answer([f"read:users!user={spawner}"])
    configure_hub(c)
    assert server_token_scopes(c) == ["read:users!user=bob", SCOPE]


@pytest.mark.parametrize("answer", [[], None, [SCOPE]])
def test_a_function_that_says_nothing_still_means_the_role(
    c: Config, answer: list[str] | None
) -> None:
    c.Spawner.server_token_scopes = lambda _: answer
    configure_hub(c)
    assert server_token_scopes(c) == (answer or [])


def server_token_scopes(c: Config) -> Any:
    """What JupyterHub asks for bob's server."""
    scopes = c.Spawner.server_token_scopes("bob")
    return asyncio.run(scopes) if asyncio.iscoroutine(scopes) else scopes


def test_a_second_call_changes_nothing(c: Config) -> None:
    c.JupyterHub.services = [{"name": "cull"}]
    c.JupyterHub.extra_user_scopes = {"groups"}
    c.Spawner.server_token_scopes = lambda _: ["self"]
    c.KubeSpawner.server_token_scopes = ["self"]
    configure_hub(c, admins=["ada"])
    once = repr(c)
    configure_hub(c, admins=["ada"])
    assert repr(c) == once
    assert server_token_scopes(c) == ["self", SCOPE]


def test_two_exchanges_stand_beside_each_other(c: Config) -> None:
    c.Spawner.server_token_scopes = lambda _: ["self"]
    configure_hub(c)
    configure_hub(c, name="second", url="http://127.0.0.1:10102")
    assert [service["name"] for service in c.JupyterHub.services] == ["ngshare", "second"]
    second = "access:services!service=second"
    assert roles(c)["user"]["scopes"] == ["self", SCOPE, second]
    assert server_token_scopes(c) == ["self", SCOPE, second]


def test_of_a_service_that_is_configured_already_every_setting_stays(c: Config) -> None:
    c.JupyterHub.services = [{"name": "ngshare", "command": ["ngshare", "--debug"]}]
    configure_hub(c, admins=["ada"], url="http://10.0.0.1:1")
    assert c.JupyterHub.services == [
        {
            "name": "ngshare",
            "command": ["ngshare", "--debug"],
            "url": "http://10.0.0.1:1",
            "oauth_no_confirm": True,
            "environment": MALLOC,
        }
    ]


def test_a_service_that_is_launched_elsewhere_has_no_command(c: Config) -> None:
    configure_hub(c, launch=False, url="http://ngshare:8080", api_token="secret")
    assert c.JupyterHub.services == [
        {
            "name": "ngshare",
            "url": "http://ngshare:8080",
            "api_token": "secret",
            "oauth_no_confirm": True,
        }
    ]
    assert c.JupyterHub.load_roles == [USER, SERVER]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({}, "needs the service's api_token"),
        ({"api_token": ""}, "needs the service's api_token"),
        ({"api_token": "secret", "admins": ["ada"]}, "give admins to the service"),
        ({"api_token": "secret", "database": "sqlite://"}, "give database to the service"),
        ({"api_token": "secret", "args": ["--debug"]}, "give args to the service"),
    ],
)
def test_what_cannot_work_for_a_service_launched_elsewhere_is_refused(
    c: Config, told: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        configure_hub(c, launch=False, **told)
    assert repr(c) == repr(Config())


def test_the_example_keeps_everything_in_one_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = 20_000 + os.getpid() % 5000  # the system gives no program a port below 32768
    monkeypatch.setenv("NGSHARE_HUB_PORT", str(port))
    monkeypatch.setenv("NGSHARE_HUB_DIR", str(tmp_path / "data"))
    c = PyFileConfigLoader("jupyterhub_config.py", str(EXAMPLES)).load_config()
    assert c.JupyterHub.bind_url == f"http://127.0.0.1:{port}/"
    (service,) = c.JupyterHub.services
    assert service["command"][4:] == [
        *("--admins", "admin"),
        *("--database", f"sqlite:///{tmp_path}/data/ngshare.db"),
        *("--storage", f"{tmp_path}/data/files"),
    ]
    assert c.JupyterHub.load_roles == [USER, SERVER]


def test_the_hubs_process_loads_nothing_heavy() -> None:
    """It imports this before its own things, perhaps in another environment."""
    program = "import sys, ngshare.hub; print(*sorted({n.split('.')[0] for n in sys.modules}))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True).split()
    heavy = {"tornado", "sqlalchemy", "jupyterhub", "traitlets", "alembic", "cryptography"}
    assert heavy.isdisjoint(loaded)
    assert "ngshare" in loaded


@pytest.mark.parametrize("seconds", [60, 0])
def test_how_long_the_hubs_answers_are_believed(c: Config, seconds: int) -> None:
    configure_hub(c, cache_max_age=seconds)
    assert f"--SharedHubAuth.cache_max_age={seconds}" in c.JupyterHub.services[0]["command"]
    with pytest.raises(ValueError, match="cache_max_age"):
        configure_hub(c, launch=False, api_token="t", cache_max_age=seconds)

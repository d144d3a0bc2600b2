"""One call for ``jupyterhub_config.py``: the service, and who may use it.

The Hub's own process imports this, so it imports nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

DEFAULT_URL = "http://127.0.0.1:10101"

MALLOC = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(4 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(16 * 2**20),
}
"""Environment variables by which glibc gives the memory of large buffers back to the system.

Without them it learns from the largest buffer that was ever freed, and keeps hundreds of MiB
after a few large uploads. The Dockerfile and the Helm chart set the same.
"""


def configure_hub(
    c: Any,
    *,
    admins: Iterable[str] = (),
    name: str = "ngshare",
    url: str = DEFAULT_URL,
    database: str | None = None,
    storage: str | None = None,
    api_token: str | None = None,
    launch: bool = True,
    cache_max_age: int | None = None,
    args: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
) -> None:
    """Add ngshare to a JupyterHub. Call it at the end of ``jupyterhub_config.py``.

    It adds the service, and gives every user, and the token in every user's
    server, the scope to use it. What is configured already is kept; calling it
    twice changes nothing more.

    c: the configuration object of ``jupyterhub_config.py``.
    admins: names of the users who may create courses and do all that instructors may; one
        name, or one text with commas between names, will do.
    name: the service's name, which is also its place, ``/services/<name>/``.
    url: where the service listens, as the Hub's proxy reaches it.
    database: a SQLAlchemy URL; ngshare's default is ``sqlite:////srv/ngshare/ngshare.db``. Any
        other kind may hold a password, so it reaches the service by its environment.
    storage: a folder for the files; ngshare's default is ``/srv/ngshare/files/``.
    api_token: the token that a service which the Hub does not launch was given.
    launch: False when somebody else starts the service, as the Helm chart does.
    cache_max_age: for how many seconds the service believes the Hub's answer about a token;
        by default 300. A revoked token is accepted for that long at most.
    args: more arguments of the command line, as ``ngshare --help-all`` lists them.
    environment: more environment variables for the launched service.

    Raises ValueError when ``launch`` is False and no ``api_token`` is given, or something
    that only a launched service would be told.
    """
    admins = [admins] if isinstance(admins, str) else list(admins)
    args = [args] if isinstance(args, str) else list(args)
    if not launch:
        _check_not_launched(
            api_token,
            admins=admins,
            database=database,
            storage=storage,
            cache_max_age=cache_max_age,
            args=args,
            environment=environment,
        )
    service: dict[str, Any] = {"name": name, "url": url, "oauth_no_confirm": True}
    if api_token:
        service["api_token"] = api_token
    if launch:
        environment = {**MALLOC, **(environment or {})}
        if database and not database.startswith("sqlite"):
            # A command line is shown to every user of the machine, and by the Hub's API.
            environment["NGSHARE_DATABASE"] = database
            database = None
        command = [sys.executable, "-m", "ngshare", "--end-with-hub"]
        for flag, value in (
            ("--admins", ",".join(admins)),
            ("--database", database),
            ("--storage", storage),
        ):
            if value:
                command += [flag, value]
        if cache_max_age is not None:
            command.append(f"--SharedHubAuth.cache_max_age={cache_max_age}")
        service["command"] = [*command, *args]
        service["environment"] = environment
    _add_service(c, service)
    scope = f"access:services!service={name}"
    roles = list(_configured(c.JupyterHub, "load_roles"))
    extra = sorted(_configured(c.JupyterHub, "extra_user_scopes", set()))
    if _grant(roles, "user", ["self", *extra], scope):
        c.JupyterHub.pop("extra_user_scopes", None)  # in the role now; the Hub would warn of both
    _grant(roles, "server", ["users:activity!user", "access:servers!server"], scope)
    c.JupyterHub.load_roles = roles
    _grant_server_tokens(c, scope)


def _check_not_launched(api_token: str | None, **told: Any) -> None:
    if not api_token:
        raise ValueError("configure_hub(c, launch=False, ...) needs the service's api_token")
    for name, value in told.items():
        if value or value == 0:
            raise ValueError(
                f"configure_hub(c, launch=False, {name}=...) would tell nobody: "
                f"give {name} to the service where it is started"
            )


def _add_service(c: Any, service: dict[str, Any]) -> None:
    """Add the service; of one that is configured already under this name, keep every setting."""
    services = list(_configured(c.JupyterHub, "services"))
    for configured in services:
        if configured.get("name") == service["name"]:
            for key, value in service.items():
                configured.setdefault(key, value)
            break
    else:
        services.append(service)
    c.JupyterHub.services = services


def _grant(roles: list[dict[str, Any]], name: str, defaults: Sequence[str], scope: str) -> bool:
    """Add the scope to a role, which keeps what it has. Whether that is the defaults."""
    role = next((role for role in roles if role.get("name") == name), None)
    if role is None:
        role = {"name": name}
        roles.append(role)
    default = "scopes" not in role
    scopes = list(defaults if default else role["scopes"])
    role["scopes"] = scopes if scope in scopes else [*scopes, scope]
    return default


def _grant_server_tokens(c: Any, scope: str) -> None:
    """Where the scopes of servers' tokens are configured, the role ``server`` does not count.

    A kind of Spawner may have a section of its own, as KubeSpawner, which wins.
    """
    for section in list(c.values()):
        if not isinstance(section, dict) or "server_token_scopes" not in section:
            continue
        configured = _configured(section, "server_token_scopes")
        if not callable(configured):
            section["server_token_scopes"] = _with(configured, scope)
        elif getattr(configured, "ngshare_scope", None) != scope:  # not called twice
            section["server_token_scopes"] = _then_with(configured, scope)


def _then_with(configured: Callable[[Any], Any], scope: str) -> Callable[[Any], Any]:
    """What calls the site's function, which may be a coroutine, and adds the scope."""

    def server_token_scopes(spawner: Any) -> Any:
        scopes = configured(spawner)
        return later(scopes) if hasattr(scopes, "__await__") else _with(scopes, scope)

    async def later(scopes: Any) -> list[str]:
        return _with(await scopes, scope)

    server_token_scopes.ngshare_scope = scope  # type: ignore[attr-defined]  # our mark
    return server_token_scopes


def _with(scopes: Iterable[str] | None, scope: str) -> list[str]:
    """The scopes and this one; none stay none, for that means the role ``server``."""
    scopes = list(scopes or ())
    return scopes if scope in scopes or not scopes else [*scopes, scope]


def _configured(section: Any, name: str, empty: Any = ()) -> Any:
    """What is configured so far: a list or set of its own, or a callable."""
    value = section[name] if name in section else list(empty)
    if hasattr(value, "get_value"):  # traitlets' record of .append() and .update() calls
        value = value.get_value(type(empty)() if empty == set() else [])
    return value if callable(value) else type(value)(value)

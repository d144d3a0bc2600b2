"""Configure a JupyterHub for ngshare, in ``jupyterhub_config.py``.

The Hub's process imports this module, so it imports the standard library only.
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
"""Environment variables that make glibc return the memory of large buffers to the system.

By default, glibc raises its threshold to the largest buffer ever freed, and retains hundreds of
MiB after a few large uploads. The Dockerfile and the Helm chart set the same variables.
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

    It adds the service, and grants every user, and the API token of every user's server, the
    scope to access it. Existing configuration is kept. A second call has no effect.

    c: the configuration object of ``jupyterhub_config.py``.
    admins: names of the users who may create courses and have the permissions of instructors;
        a list, or a string with commas between names.
    name: the service's name. Its path is ``/services/<name>/``.
    url: where the service listens, as seen from the Hub's proxy.
    database: a SQLAlchemy URL; by default ``sqlite:////srv/ngshare/ngshare.db``. Unless it is
        SQLite's, it may contain a password, and is passed in an environment variable.
    storage: the folder for the files; by default ``/srv/ngshare/files/``.
    api_token: the API token of a service that the Hub does not launch.
    launch: False when the Hub does not launch the service, as with the Helm chart.
    cache_max_age: for how many seconds the service caches the Hub's answer about a token; by
        default 300. A revoked token is accepted for that long at most.
    args: more command-line arguments, as listed by ``ngshare --help-all``.
    environment: more environment variables for the launched service.

    Raises ValueError when ``launch`` is False, and ``api_token`` is missing or an argument is
    given that has an effect on a launched service only.
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
            # Every user of the machine, and of the Hub's API, can see the command line.
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
    if _grant_role(roles, "user", ["self", *extra], scope):
        c.JupyterHub.pop("extra_user_scopes", None)  # now in the role; the Hub warns about both
    _grant_role(roles, "server", ["users:activity!user", "access:servers!server"], scope)
    c.JupyterHub.load_roles = roles
    _grant_server_tokens(c, scope)


def _check_not_launched(api_token: str | None, **launch_options: Any) -> None:
    """Raise ValueError without a token, or with an option that only a launched service gets."""
    if not api_token:
        raise ValueError("configure_hub(c, launch=False, ...) needs the service's api_token")
    for name, value in launch_options.items():
        if value or value == 0:
            raise ValueError(
                f"configure_hub(c, launch=False, {name}=...) would tell nobody: "
                f"give {name} to the service where it is started"
            )


def _add_service(c: Any, service: dict[str, Any]) -> None:
    """Add a service, or the missing keys of the configured service of the same name."""
    services = list(_configured(c.JupyterHub, "services"))
    for configured in services:
        if configured.get("name") == service["name"]:
            for key, value in service.items():
                configured.setdefault(key, value)
            break
    else:
        services.append(service)
    c.JupyterHub.services = services


def _grant_role(
    roles: list[dict[str, Any]], name: str, default_scopes: Sequence[str], scope: str
) -> bool:
    """Add a scope to a role, which is created if missing.

    Return whether the role had no scopes configured, so that the Hub's defaults were added.
    """
    role = next((role for role in roles if role.get("name") == name), None)
    if role is None:
        role = {"name": name}
        roles.append(role)
    use_defaults = "scopes" not in role
    scopes = list(default_scopes if use_defaults else role["scopes"])
    role["scopes"] = scopes if scope in scopes else [*scopes, scope]
    return use_defaults


def _grant_server_tokens(c: Any, scope: str) -> None:
    """Add a scope to every configured ``server_token_scopes``, which override the role ``server``.

    They may be configured for Spawner, or for a subclass such as KubeSpawner.
    """
    for section in list(c.values()):
        if not isinstance(section, dict) or "server_token_scopes" not in section:
            continue
        configured = _configured(section, "server_token_scopes")
        if not callable(configured):
            section["server_token_scopes"] = _with_scope(configured, scope)
        elif getattr(configured, "ngshare_scope", None) != scope:  # not wrapped already
            section["server_token_scopes"] = _wrap_with_scope(configured, scope)


def _wrap_with_scope(configured: Callable[[Any], Any], scope: str) -> Callable[[Any], Any]:
    """Return a function that adds a scope to the result of the site's, which may be async."""

    def server_token_scopes(spawner: Any) -> Any:
        scopes = configured(spawner)
        return add_later(scopes) if hasattr(scopes, "__await__") else _with_scope(scopes, scope)

    async def add_later(scopes: Any) -> list[str]:
        return _with_scope(await scopes, scope)

    server_token_scopes.ngshare_scope = scope  # type: ignore[attr-defined]  # a marker
    return server_token_scopes


def _with_scope(scopes: Iterable[str] | None, scope: str) -> list[str]:
    """Return the scopes with one more; an empty list stays empty, as it means the role's scopes."""
    scopes = list(scopes or ())
    return scopes if scope in scopes or not scopes else [*scopes, scope]


def _configured(section: Any, name: str, empty: Any = ()) -> Any:
    """Return a copy of the configured value, or the callable that is configured.

    empty: the value when none is configured, whose type tells lists from sets.
    """
    value = section[name] if name in section else list(empty)
    # traitlets' LazyConfigValue records calls such as ``.append()``.
    if hasattr(value, "get_value"):
        value = value.get_value(type(empty)() if empty == set() else [])
    return value if callable(value) else type(value)(value)

"""Who may call what: each method of each handler says it, or the service does not start."""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, cast

from tornado.web import RequestHandler

P = ParamSpec("P")

METHODS = ("get", "post", "delete", "put", "patch", "head", "options")


class Who(enum.Enum):
    """Who may call a method of a route. The rules themselves are in ``actions/access.py``."""

    PUBLIC = "anyone, without identity"
    ANYONE = "anyone with an identity"
    MEMBER = "members of the course"
    INSTRUCTOR_OR_SELF = "instructors of the course, and the member it is about"
    INSTRUCTOR = "instructors of the course"
    ADMIN = "admins"
    DEBUG = "admins; anyone with an identity in debug mode"
    METRICS = "tokens with the scope read:metrics, and admins; anyone when it is opened"


UNIDENTIFIED = (None, Who.PUBLIC, Who.METRICS)
"""Whose caller is not asked for before the method runs."""


class Opens(Protocol):
    """A handler that can identify who calls it."""

    async def open(self, who: Who) -> None:
        """Know the caller, before a method that says who may call it runs."""
        ...


Method = Callable[Concatenate[Any, P], Awaitable[None]]


def allow(who: Who) -> Callable[[Method[P]], Method[P]]:
    """Declare who may call a handler's method, and have the caller identified before it runs."""

    def declare(method: Method[P]) -> Method[P]:
        @functools.wraps(method)
        async def run(self: Opens, *args: P.args, **kwargs: P.kwargs) -> None:
            await self.open(who)
            await method(self, *args, **kwargs)

        run.who = who  # type: ignore[attr-defined]  # read back by declared()
        return cast("Method[P]", run)

    return declare


def declared(handler: type[RequestHandler], method: str) -> Who | None:
    """Who may call this method of a handler; None when the handler does not say."""
    return getattr(getattr(handler, method), "who", None)


def implemented(handler: type[RequestHandler]) -> list[str]:
    """The HTTP methods that a handler implements, in lower case."""
    return [
        method
        for method in METHODS
        if getattr(handler, method) is not getattr(RequestHandler, method)
    ]

"""The audience of each route: every method of a handler declares who may call it."""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable
from typing import Any, Concatenate, ParamSpec, Protocol, cast

from tornado.web import RequestHandler

P = ParamSpec("P")

METHODS = ("get", "post", "delete", "put", "patch", "head", "options")


class Audience(enum.Enum):
    """The callers that may use a method of a route, as documentation and tests state them.

    Only :data:`UNIDENTIFIED` changes what happens; ``actions/access.py`` has the permissions.
    """

    PUBLIC = "anyone, without identity"
    ANYONE = "anyone with an identity"
    MEMBER = "members of the course"
    INSTRUCTOR_OR_SELF = "instructors of the course, and the member it is about"
    INSTRUCTOR = "instructors of the course"
    ADMIN = "admins"
    DEBUG = "admins; anyone with an identity in debug mode"
    METRICS = "tokens with the scope read:metrics, and admins; anyone when it is opened"


UNIDENTIFIED = (None, Audience.PUBLIC, Audience.METRICS)
"""The audiences of methods that run without identification of the caller. None stands for methods
that a handler does not implement."""


class Begins(Protocol):
    """A handler that prepares a request before one of its methods runs."""

    async def begin(self, audience: Audience) -> None:
        """Parse the request and, depending on the method's audience, identify the caller."""
        ...


Method = Callable[Concatenate[Any, P], Awaitable[None]]


def allow(audience: Audience) -> Callable[[Method[P]], Method[P]]:
    """Declare the audience of a handler's method, and call the handler's ``begin`` before it."""

    def declare(method: Method[P]) -> Method[P]:
        @functools.wraps(method)
        async def run(self: Begins, *args: P.args, **kwargs: P.kwargs) -> None:
            await self.begin(audience)
            await method(self, *args, **kwargs)

        run.audience = audience  # type: ignore[attr-defined]  # read back by audience_of()
        return cast("Method[P]", run)

    return declare


def audience_of(handler: type[RequestHandler], method: str) -> Audience | None:
    """Return the audience that a method of a handler declares; None if it declares none."""
    return getattr(getattr(handler, method), "audience", None)


def implemented_methods(handler: type[RequestHandler]) -> list[str]:
    """Return the HTTP methods that a handler implements, in lower case."""
    return [
        method
        for method in METHODS
        if getattr(handler, method) is not getattr(RequestHandler, method)
    ]

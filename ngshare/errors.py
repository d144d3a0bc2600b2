"""What can go wrong with a request, each kind with its HTTP status.

Actions raise these; ``web/base.py`` turns them into replies, in one place.
Messages are what a client shows its user: they say what is wrong and, where
it is not plain, what to do. They never hold a secret.
"""

from __future__ import annotations


class ExchangeError(Exception):
    """A request that is answered with a failure.

    ``message`` is shown to the caller. ``reason`` is added to it in debug
    mode only, because it tells a stranger something about the course.
    ``log_reason`` is never shown to the caller; the request's line in the log
    has it. ``retry_after`` is in seconds.
    """

    status = 500

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        log_reason: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reason = reason
        self.log_reason = log_reason
        self.retry_after = retry_after


class BadRequest(ExchangeError):
    """The request itself is wrong; sending it again will not help."""

    status = 400


class Unauthenticated(ExchangeError):
    """Nobody is known to have sent this request."""

    status = 401

    def __init__(self, message: str = "Please log in") -> None:
        super().__init__(message)


class Forbidden(ExchangeError):
    """The caller is known, and may not do this."""

    status = 403

    def __init__(self, message: str = "Permission denied", *, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)


class NotFound(ExchangeError):
    """What the request names does not exist, or is not the caller's to see."""

    status = 404


class Conflict(ExchangeError):
    """What the request would make exists already."""

    status = 409


class TooLarge(ExchangeError):
    """The request is larger than this service accepts."""

    status = 413


class TooMany(ExchangeError):
    """The caller sends more requests than this service accepts of one user."""

    status = 429


class Unavailable(ExchangeError):
    """Something that ngshare needs does not answer; the same request may succeed later."""

    status = 503

    def __init__(self, message: str, *, retry_after: int | None = 5) -> None:
        super().__init__(message, retry_after=retry_after)


class OutcomeUnknown(Unavailable):
    """The database went away while it stored a change, so nobody knows whether it did.

    There is no ``Retry-After``: what is sent again without looking may be stored twice.
    """

    def __init__(
        self,
        message: str = "The exchange lost its database while it stored this. It may be stored or "
        "not; please look before you send it again",
    ) -> None:
        super().__init__(message, retry_after=None)


class OutOfSpace(ExchangeError):
    """There is no room to keep what was sent."""

    status = 507


class OverQuota(ExchangeError):
    """The course has used up the room that it may take."""

    status = 507


class StartError(Exception):
    """The service or a command cannot start. The message is one line that says what to do."""

"""Typed errors of requests, each with its HTTP status, and the error that prevents a start.

Actions raise them; ``web/base.py`` alone turns them into replies. A message is shown to the
user of a client: it says what is wrong and, where that is not obvious, what to do. It never
contains a secret.
"""

from __future__ import annotations


class ExchangeError(Exception):
    """Base class of the errors that are sent to the client; by itself an internal error.

    message: shown to the caller.
    reason: appended to the message in debug mode only, because it tells a stranger something
        about the course.
    log_reason: written to the log with the request, and never shown to the caller.
    retry_after: seconds, sent as the header ``Retry-After``.
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
    """The request is malformed or invalid; repeating it unchanged cannot succeed."""

    status = 400


class Unauthenticated(ExchangeError):
    """The caller has no valid credentials."""

    status = 401

    def __init__(self, message: str = "Please log in") -> None:
        super().__init__(message)


class Forbidden(ExchangeError):
    """The caller is known and lacks the permission."""

    status = 403

    def __init__(self, message: str = "Permission denied", *, reason: str | None = None) -> None:
        super().__init__(message, reason=reason)


class NotFound(ExchangeError):
    """The requested object does not exist, or the caller may not know of it."""

    status = 404


class Conflict(ExchangeError):
    """The object to be created exists already."""

    status = 409


class TooLarge(ExchangeError):
    """The request exceeds a size limit of the service."""

    status = 413


class TooManyRequests(ExchangeError):
    """The caller exceeds a rate limit."""

    status = 429


class Unavailable(ExchangeError):
    """The service, or something it depends on, cannot answer now; a retry may succeed."""

    status = 503

    def __init__(self, message: str, *, retry_after: int | None = 5) -> None:
        super().__init__(message, retry_after=retry_after)


class OutcomeUnknown(Unavailable):
    """The connection to the database broke during a commit, which may or may not have succeeded.

    It has no ``Retry-After``: a blind retry could store the change twice.
    """

    def __init__(
        self,
        message: str = "The exchange lost its database while it stored this. It may be stored or "
        "not; please look before you send it again",
    ) -> None:
        super().__init__(message, retry_after=None)


class OutOfSpace(ExchangeError):
    """The disk has no space for the request."""

    status = 507


class OverQuota(ExchangeError):
    """The change would exceed the quota of the course."""

    status = 507


class StartError(Exception):
    """The service or a command cannot start or go on.

    The message is one line that says what is wrong and what to do.
    """


class MigrationError(StartError):
    """The database cannot be used, upgraded or reverted as it is."""

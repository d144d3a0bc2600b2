"""The error of a request to the service."""

from __future__ import annotations


class ServiceError(Exception):
    """A request to the service failed.

    message: one sentence for the user, with what to do.
    status: the status of the reply; None when there was none.
    missing: the digests of files that the service asks for, as hexadecimal digits.
    unknown_path: the service does not know the requested path, as an older one does not.
    """

    def __init__(
        self,
        message: str,
        status: int | None = None,
        *,
        missing: list[str] | None = None,
        unknown_path: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.missing = missing
        self.unknown_path = unknown_path

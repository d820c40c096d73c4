"""`RequestError`: why a request has no answer, as TensorFlow Serving puts it."""

from __future__ import annotations

from collections.abc import Mapping

HTTP_STATUS: Mapping[str, int] = {
    "CANCELLED": 499,
    "UNKNOWN": 500,
    "INVALID_ARGUMENT": 400,
    "DEADLINE_EXCEEDED": 504,
    "NOT_FOUND": 404,
    "ALREADY_EXISTS": 409,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 429,
    "FAILED_PRECONDITION": 400,
    "ABORTED": 409,
    "OUT_OF_RANGE": 400,
    "UNIMPLEMENTED": 501,
    "INTERNAL": 500,
    "UNAVAILABLE": 503,
    "DATA_LOSS": 500,
    "UNAUTHENTICATED": 401,
}
"""What TensorFlow Serving's REST API gives (`http_rest_api_util`), by the names of gRPC's statuses, in gRPC's order."""

CODES = ("OK", *HTTP_STATUS)
"""The names of gRPC's statuses, by their numbers."""


class RequestError(Exception):
    """A request that is refused, or whose model does not answer.

    It is an answer to a client, and never a mistake of who runs the gateway.

    Attributes:
        code: The name of gRPC's status.
        message: What the client is told.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message

    @property
    def http_status(self) -> int:
        """The status of the REST API."""
        return HTTP_STATUS[self.code]


def invalid(message: str) -> RequestError:
    """The commonest: what was sent is not what the signature takes."""
    return RequestError("INVALID_ARGUMENT", message)

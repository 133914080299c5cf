"""What the API server's refusals and silences become."""

from __future__ import annotations


class ApiError(Exception):
    """The API server's refusal, or no answer at all.

    `status` is the HTTP status (404 not found, 409 conflict or already there, 403 forbidden,
    410 expired, 422 invalid), or 0 where no answer came: then the request may have been carried
    out or not. `reason` is one word, `message` the server's sentence.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


def unanswered(error: Exception) -> ApiError:
    """The error of a request whose answer did not come."""
    if isinstance(error, TimeoutError):
        return ApiError(0, "Timeout", "no answer from the API server in time")
    return ApiError(0, "Unreachable", f"no answer from the API server: {error}")

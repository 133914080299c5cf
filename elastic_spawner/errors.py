"""Why a notebook server does not start, in words for the person who waits for it."""

from __future__ import annotations

from tornado.web import HTTPError


class StartError(HTTPError):
    """A start that can't be.

    The hub shows the message: of any other exception its spawn page says "unhandled error" only.
    """

    def __init__(self, message: str) -> None:
        super().__init__(500, message)
        self.jupyterhub_message = message

"""Whose token a request carries: a caller that the gateway's own resource knows, or the hub's word.

The hub's answers are remembered for a while.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import (
    FRESH_FOR,
    Confirmation,
    Identity,
    confirmation,
    identify,
    token_of,
)

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT = 5.0
# While the hub does not answer, one request in this many seconds tries again; the others go on
# with what is known, so that a hanging hub does not hold up every message of every notebook.
_RETRY_AFTER = timedelta(seconds=2)
_MAX_REMEMBERED = 10_000


class HubUnreachableError(Exception):
    """The hub gave no answer about a token."""


def _now() -> datetime:
    return datetime.now(UTC)


class Authenticator:
    """Turns `Authorization` headers into identities.

    known: the caller whose token has this SHA-256 (hex), where the JupyterGateway lists one.
    hub: asked about all others; None where there is no hub.
    """

    def __init__(
        self, known: Callable[[str], Identity | None], hub: HubAuthenticator | None
    ) -> None:
        self._known = known
        self._hub = hub

    async def authenticate(self, authorization: str | None) -> Identity:
        """The caller behind a header. Raises KernelError as the hub's does."""
        digest = hashlib.sha256(_token(authorization).encode()).hexdigest()
        if caller := self._known(digest):
            return caller
        if self._hub is None:
            raise _refused()
        return await self._hub.authenticate(authorization)

    def doubt(self, owner: str) -> None:
        """Ask the hub again about that user's tokens before they are taken next."""
        if self._hub is not None:
            self._hub.doubt(owner)

    def close(self) -> None:
        """Let go of connections."""
        if self._hub is not None:
            self._hub.close()


class HubAuthenticator:
    """Turns `Authorization` headers into identities.

    api_url: the hub's API, without a trailing slash.
    service_name: the hub service that may seal kernels.
    """

    def __init__(
        self, api_url: str, service_name: str, *, clock: Callable[[], datetime] = _now
    ) -> None:
        self._url = f"{api_url}/user"
        self._service_name = service_name
        self._clock = clock
        self._http = AsyncHTTPClient(force_instance=True, max_clients=100)
        self._known: dict[str, tuple[Identity, datetime]] = {}
        self._asking: dict[str, asyncio.Task[Identity | None]] = {}
        self._unreachable_since: datetime | None = None
        self._doubts = 0

    async def authenticate(self, authorization: str | None) -> Identity:
        """The caller behind a header.

        Raises KernelError: 401 without a token, 403 when the hub refuses it or it gives no access
        to a server of its own user, 503 when the hub can't be asked and the token is not known.
        """
        token = _token(authorization)
        digest = hashlib.sha256(token.encode()).hexdigest()
        known = self._known.get(digest)
        worth = confirmation(known[1], self._clock()) if known else Confirmation.EXPIRED
        if known and worth is Confirmation.FRESH:
            return known[0]
        try:
            identity = await self._ask_once(digest, token, may_wait=worth is not Confirmation.STALE)
        except HubUnreachableError as error:
            if known and worth is Confirmation.STALE:
                return known[0]
            raise KernelError(
                503,
                "HubUnreachable",
                "The hub could not be asked whose token this is. Try again in a moment.",
            ) from error
        if identity is None:
            raise _refused()
        return identity

    def doubt(self, owner: str) -> None:
        """Ask the hub again about that user's tokens before they are taken next."""
        self._doubts += 1
        for digest, (identity, _) in list(self._known.items()):
            if identity.name == owner:
                # While the hub can't be asked, what it said last goes on counting.
                self._known[digest] = (identity, self._clock() - FRESH_FOR)

    def close(self) -> None:
        """Let go of the HTTP client."""
        self._http.close()

    async def _ask_once(self, digest: str, token: str, *, may_wait: bool) -> Identity | None:
        """Ask the hub, once for all requests that come with the same token meanwhile."""
        task = self._asking.get(digest)
        if task is None:
            failed = self._unreachable_since
            if not may_wait and failed is not None and self._clock() - failed < _RETRY_AFTER:
                raise HubUnreachableError
            task = asyncio.create_task(self._ask(digest, token))
            self._asking[digest] = task
            task.add_done_callback(lambda done: self._asked(digest, done))
        return await asyncio.shield(task)

    def _asked(self, digest: str, task: asyncio.Task[Identity | None]) -> None:
        self._asking.pop(digest, None)
        if not task.cancelled():
            task.exception()  # who asked has it, unless all have hung up: then nobody needs it

    async def _ask(self, digest: str, token: str) -> Identity | None:
        doubts = self._doubts
        try:
            response = await self._http.fetch(
                self._url,
                headers={"Authorization": f"token {token}", "Accept": "application/json"},
                connect_timeout=_REQUEST_TIMEOUT,
                request_timeout=_REQUEST_TIMEOUT,
                follow_redirects=False,
            )
            model = json.loads(response.body)
        except HTTPClientError as error:
            if error.code in (401, 403):
                self._known.pop(digest, None)
                self._unreachable_since = None
                return None
            raise self._unreachable(error) from error
        except (OSError, ValueError) as error:
            raise self._unreachable(error) from error
        self._unreachable_since = None
        identity = identify(model, service_name=self._service_name)
        if identity is None:
            self._known.pop(digest, None)
        else:
            # An answer from before a doubt may be overtaken already.
            self._remember(digest, identity, is_fresh=doubts == self._doubts)
        return identity

    def _unreachable(self, error: Exception) -> HubUnreachableError:
        if self._unreachable_since is None:
            log.warning("the hub at %s does not answer: %s", self._url, error)
        self._unreachable_since = self._clock()
        return HubUnreachableError()

    def _remember(self, digest: str, identity: Identity, *, is_fresh: bool) -> None:
        now = self._clock()
        if len(self._known) >= _MAX_REMEMBERED:
            self._known = {
                key: entry
                for key, entry in self._known.items()
                if confirmation(entry[1], now) is not Confirmation.EXPIRED
            }
        self._known[digest] = (identity, now if is_fresh else now - FRESH_FOR)


def _token(authorization: str | None) -> str:
    token = token_of(authorization)
    if token is None:
        raise KernelError(
            401,
            "NoToken",
            "The gateway needs a token: the header 'Authorization: token …' is missing.",
        )
    return token


def _refused() -> KernelError:
    return KernelError(
        403,
        "TokenRefused",
        "This token gives no access to kernels here: use the token of your own server.",
    )

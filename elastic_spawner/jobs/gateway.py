"""The requests that an unattended run makes of the gateway."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
import time
from http.client import responses
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.websocket import WebSocketClientConnection, websocket_connect

from elastic_spawner.jobs.messages import SUBPROTOCOL
from elastic_spawner.jobs.settings import JobSettings

log = logging.getLogger(__name__)

_REQUEST_TIMEOUT = 30.0
# The gateway answers a start within seconds; a start that takes longer goes on meanwhile.
_START_MARGIN = 10.0
_PING_SECONDS = 30.0
# A gateway that is being replaced is away for seconds; a run at night has that much time.
_AWAY_SECONDS = 60.0
_RETRY_SECONDS = 1.0
# The gateway is told how long a message may be; tornado's connections buffer little more.
_SIZE_HEADER = "Elastic-Max-Message-Size"
_MAX_MESSAGE_BYTES = 100_000_000


class GatewayError(RuntimeError):
    """The gateway refused, or wasn't reached; the message is the gateway's sentence, if it has one.

    status: of the HTTP answer, None where there was none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class Gateway:
    """One gateway, asked with one token."""

    def __init__(self, settings: JobSettings) -> None:
        self._settings = settings

    async def start(self, spec_name: str) -> str:
        """Start a kernel; its id once it answers, or while it still starts. Raises GatewayError."""
        body = {"name": spec_name, "env": dict(self._settings.environment)}
        timeout = self._settings.start_timeout + _START_MARGIN
        patience = time.monotonic() + _AWAY_SECONDS
        while True:
            try:
                model = await self._request("POST", "", body=body, timeout=timeout)
            except GatewayError as error:
                if not _never_arrived(error) or time.monotonic() > patience:
                    raise
                await asyncio.sleep(_RETRY_SECONDS)
            else:
                return str(model["id"])

    async def started(self, kernel_id: str) -> None:
        """Wait until a kernel answers, and log what it waits for. Raises GatewayError."""
        timeout = self._settings.start_timeout
        give_up = time.monotonic() + timeout
        logged = ""
        while True:
            model = await self.model(kernel_id) or {}
            state, reason = model.get("execution_state", "dead"), str(model.get("reason", ""))
            if state == "dead":
                raise GatewayError(reason or "The kernel ended before it had started.")
            if state != "starting":
                return
            if time.monotonic() > give_up:
                raise GatewayError(f"The kernel did not start within {timeout:.0f} s. {reason}")
            if reason and reason != logged:
                log.info("The kernel is starting. %s", reason)
                logged = reason
            await asyncio.sleep(_RETRY_SECONDS)

    async def model(self, kernel_id: str) -> dict[str, Any] | None:
        """What the gateway says of a kernel, None if it has no such kernel. GatewayError."""
        try:
            return await self._request("GET", f"/{kernel_id}")
        except GatewayError as error:
            if error.status == 404:
                return None
            raise

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt what a kernel runs. Raises GatewayError."""
        await self._request("POST", f"/{kernel_id}/interrupt", body={})

    async def delete(self, kernel_id: str) -> None:
        """End a kernel, if it is still there. Raises GatewayError."""
        try:
            await self._request("DELETE", f"/{kernel_id}")
        except GatewayError as error:
            if error.status != 404:
                raise

    async def connect(self, kernel_id: str, session_id: str) -> WebSocketClientConnection:
        """A websocket to a kernel's channels. Raises GatewayError."""
        url = f"{self._settings.websocket_url}/api/kernels/{kernel_id}/channels"
        request = HTTPRequest(
            f"{url}?session_id={quote(session_id)}",
            headers=self._headers() | {_SIZE_HEADER: str(_MAX_MESSAGE_BYTES)},
            connect_timeout=_REQUEST_TIMEOUT,
            request_timeout=_REQUEST_TIMEOUT,
        )
        try:
            return await websocket_connect(
                request,
                ping_interval=_PING_SECONDS,
                max_message_size=_MAX_MESSAGE_BYTES,
                subprotocols=[SUBPROTOCOL],
            )
        except (HTTPClientError, OSError) as error:
            raise self._error(error) from error

    async def _request(
        self,
        method: str,
        path: str,
        *,
        body: dict[str, Any] | None = None,
        timeout: float = _REQUEST_TIMEOUT,
    ) -> dict[str, Any]:
        client = AsyncHTTPClient(force_instance=True)
        try:
            response = await client.fetch(
                f"{self._settings.url}/api/kernels{path}",
                method=method,
                headers=self._headers(),
                body=None if body is None else json.dumps(body),
                connect_timeout=_REQUEST_TIMEOUT,
                request_timeout=timeout,
                follow_redirects=False,
            )
            return dict(json.loads(response.body)) if response.body else {}
        except (HTTPClientError, OSError, ValueError) as error:
            raise self._error(error) from error
        finally:
            # A request in flight ends with it, and the gateway sees that nobody waits any longer.
            client.close()

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"token {self._settings.token}"}

    def _error(self, error: Exception) -> GatewayError:
        if isinstance(error, HTTPClientError) and error.response is not None:
            try:
                message = str(json.loads(error.response.body)["message"])
            except (KeyError, TypeError, ValueError):
                message = (
                    f"The gateway answered {error.code} {responses.get(error.code, '')}".strip()
                )
            return GatewayError(message, error.code)
        return GatewayError(f"The gateway at {self._settings.url} could not be asked: {error}")


def _never_arrived(error: GatewayError) -> bool:
    """Whether the request can be made again without asking for a second kernel."""
    return isinstance(error.__cause__, ConnectionRefusedError | socket.gaierror)

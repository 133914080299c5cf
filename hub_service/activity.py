"""Asks gateways whether a kernel is idle, and to seal it if it is.

The gateway's answer is atomic there: after "sealed" it accepts no message for the kernel, so no
cell can begin between the answer and the kernel's end.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError

from hub_service import timestamps


@dataclass(frozen=True)
class Sealed:
    """The kernel was idle for long enough and takes no more messages."""


@dataclass(frozen=True)
class Active:
    """The kernel was not idle for long enough; when it was last active, and its state now."""

    last_activity: datetime | None
    execution_state: str


@dataclass(frozen=True)
class Unknown:
    """The gateway could not say, for this reason. That is not idle."""

    why: str


class GatewayClient:
    """Calls gateways as the hub service that they know by `token`."""

    def __init__(self, token: str, *, request_timeout: float = 10.0) -> None:
        self._token = token
        self._request_timeout = request_timeout

    async def seal(
        self, gateway_url: str, kernel_id: str, idle_before: datetime
    ) -> Sealed | Active | Unknown:
        """Ask the gateway to seal a kernel that was idle since before `idle_before`."""
        request = HTTPRequest(
            f"{gateway_url}/api/kernels/{kernel_id}/cull",
            method="POST",
            headers={
                "Authorization": f"token {self._token}",
                "Content-Type": "application/json",
            },
            body=json.dumps({"idle_before": timestamps.microseconds(idle_before)}),
            connect_timeout=self._request_timeout,
            request_timeout=self._request_timeout,
            follow_redirects=False,  # they would carry the token elsewhere
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError, HTTPTimeoutError) as error:
            return Unknown(f"{gateway_url} does not answer: {error}")
        return _answer(gateway_url, response.code, response.body)


def _answer(gateway_url: str, code: int, body: bytes) -> Sealed | Active | Unknown:
    if code not in (200, 409):
        return Unknown(f"{gateway_url} answers {code}")
    try:
        answer = json.loads(body)
        if code == 200 and answer["sealed"] is True:
            return Sealed()
        if code == 409 and answer["sealed"] is False:
            last_activity = timestamps.parse(answer.get("last_activity"))
            return Active(last_activity, str(answer.get("execution_state")))
    except (ValueError, KeyError, TypeError):
        pass
    return Unknown(f"{gateway_url} answers {code} with a body that can't be read")

"""What the service asks the hub, by its own token."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError

log = logging.getLogger(__name__)


class HubClient:
    """Calls the hub's API at `api_url`, which ends in /hub/api.

    The scope that it needs is `read:servers`.
    """

    def __init__(self, api_url: str, token: str, *, request_timeout: float = 10.0) -> None:
        self._api_url = api_url.rstrip("/")
        self._token = token
        self._request_timeout = request_timeout

    async def servers_of(self, user: str) -> frozenset[str] | None:
        """Names of a user's servers that run, start or stop ("" is the default one).

        None where the hub gave no definite answer. That there is no such user is one.
        """
        request = HTTPRequest(
            f"{self._api_url}/users/{quote(user, safe='')}",
            headers={"Authorization": f"token {self._token}", "Accept": "application/json"},
            connect_timeout=self._request_timeout,
            request_timeout=self._request_timeout,
            follow_redirects=False,
        )
        try:
            response = await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError, HTTPTimeoutError) as error:
            log.warning("the hub does not answer: %s", error)
            return None
        return _servers(user, response.code, response.body)


def _servers(user: str, code: int, body: bytes) -> frozenset[str] | None:
    try:
        model = json.loads(body)
        if code == 404 and model["status"] == 404:
            return frozenset()
        if code == 200 and model["name"] == user:
            return frozenset(model["servers"])
    except (ValueError, KeyError, TypeError):
        pass
    log.warning("the hub answers %d about a user's servers, which says nothing definite", code)
    return None

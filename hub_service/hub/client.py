"""What the service asks the hub, by its own token."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import datetime
from typing import Any, NamedTuple
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest, HTTPResponse
from tornado.simple_httpclient import HTTPTimeoutError

from hub_service import timestamps
from hub_service.hub import groups
from hub_service.hub.groups import Group
from hub_service.hub.servers import Server

log = logging.getLogger(__name__)

# Without it the hub leaves out, and says so to nobody, what is more than a page.
_PAGES = "application/jupyterhub-pagination+json"
# Groups that come and go between two pages move the others.
_TRIES = 3


class HubClient:
    """Calls the hub's API at `api_url`, which ends in /hub/api.

    The scopes that it needs are `read:servers`, `users:activity`, `list:groups` and `read:groups`.
    """

    def __init__(self, api_url: str, token: str, *, request_timeout: float = 10.0) -> None:
        self._api_url = api_url.rstrip("/")
        self._token = token
        self._request_timeout = request_timeout

    async def servers_of(self, user: str) -> frozenset[str] | None:
        """Names of a user's servers that run, start or stop ("" is the default one).

        None where the hub gave no definite answer. That there is no such user is one.
        """
        response = await self._fetch(f"/users/{quote(user, safe='')}")
        return None if response is None else _servers(user, response.code, response.body)

    async def tell_activity(self, server: Server, moment: datetime) -> bool:
        """Tell when a server was last active; whether the hub has taken note.

        It has, too, where it knows of no such server.
        """
        last = timestamps.microseconds(moment)
        body = {"servers": {server.name: {"last_activity": last}}, "last_activity": last}
        response = await self._fetch(f"/users/{quote(server.owner, safe='')}/activity", body)
        if response is None:
            return False
        if response.code not in (200, 400, 404):
            log.warning("the hub answers %d to being told of activity", response.code)
            return False
        return True

    async def groups(self) -> list[Group] | None:
        """All groups; None where the hub gave no definite answer."""
        for _ in range(_TRIES):
            found: dict[str, Group] = {}
            offset: int | None = 0
            total = 0
            while offset is not None:
                response = await self._fetch(f"/groups?limit=200&offset={offset}", accept=_PAGES)
                page = None if response is None else _page(response.code, response.body, offset)
                if page is None:
                    return None
                found |= {group.name: group for group in page.groups}
                offset, total = page.next_offset, page.total
            if len(found) == total:
                return list(found.values())
        log.warning("the hub's groups change while they are listed")
        return None

    async def _fetch(
        self,
        path: str,
        body: dict[str, Any] | None = None,
        *,
        accept: str = "application/json",
    ) -> HTTPResponse | None:
        """A GET, or a POST of `body`; None where the hub does not answer."""
        request = HTTPRequest(
            self._api_url + path,
            method="GET" if body is None else "POST",
            body=None if body is None else json.dumps(body),
            headers={"Authorization": f"token {self._token}", "Accept": accept},
            connect_timeout=self._request_timeout,
            request_timeout=self._request_timeout,
            follow_redirects=False,
        )
        try:
            return await AsyncHTTPClient().fetch(request, raise_error=False)
        except (OSError, HTTPClientError, HTTPTimeoutError) as error:
            log.warning("the hub does not answer: %s", error)
            return None


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


class _Page(NamedTuple):
    """Some of the groups, where the next ones begin (None at the end), and how many there are."""

    groups: list[Group]
    next_offset: int | None
    total: int


def _page(code: int, body: bytes, offset: int) -> _Page | None:
    try:
        if code != 200:
            raise ValueError("scopes list:groups and read:groups are needed")
        model = json.loads(body)
        pages: Mapping[str, Any] = model["_pagination"]
        following = pages["next"]
        behind = int(following["offset"]) if following else None
        if behind is not None and behind <= offset:
            raise ValueError(f"the page behind {offset} is said to begin at {behind}")
        listed = [groups.group(item) for item in model["items"]]
        return _Page(listed, behind, int(pages["total"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        log.warning("the hub answers %d about its groups: %s", code, error)
        return None

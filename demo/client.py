"""A person at the hub, by the same requests that a browser makes: log in, start, run code.

Used by the demo's tour, the benchmarks and the end-to-end tests, so that all of them go through
the hub's login, its proxy and the notebook's own server, and none through a side door.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import AsyncIterator, Sequence
from html import unescape
from typing import Any
from urllib.parse import unquote

import aiohttp
from yarl import URL

from demo.connection import Connection, Execution, connected

_WAITS = "reason"  # of a kernel's model: why it doesn't run, or doesn't run yet
_SPAWN_FORM = 'id="spawn_form"'
_COOKIE_PATH = re.compile(r";\s*path=[^;]*", re.IGNORECASE)
_XSRF_FIELD = re.compile(r'name="_xsrf"\s+value="([^"]+)"')


class RequestFailedError(Exception):
    """The hub or the notebook server answered with an error."""

    def __init__(self, status: int, url: str, body: str) -> None:
        super().__init__(f"{status} from {url}: {body[:2000]}")
        self.status = status
        self.body = body

    @property
    def message(self) -> str:
        """What JupyterLab shows of the answer."""
        with contextlib.suppress(ValueError):
            data = json.loads(self.body)
            if isinstance(data, dict):
                return str(data.get("message", self.body))
        return self.body


class _CookieJar(aiohttp.CookieJar):
    """aiohttp compares a cookie's path, as it came, with URLs' decoded ones; browsers don't."""

    def update_cookies_from_headers(self, headers: Sequence[str], response_url: URL) -> None:
        """Take in a response's cookies."""
        decoded = [_COOKIE_PATH.sub(lambda path: unquote(path[0]), header) for header in headers]
        super().update_cookies_from_headers(decoded, response_url)


class Person:
    """One user with a browser's cookies. Use as an async context manager."""

    def __init__(self, hub_url: str, name: str, password: str) -> None:
        self.base = URL(hub_url.rstrip("/") + "/")
        self.name = name
        self._password = password
        self._session: aiohttp.ClientSession

    async def __aenter__(self) -> Person:
        # Addresses without a name have no cookies by default, and the hub's are used as they are.
        jar = _CookieJar(unsafe=True, quote_cookie=False)
        self._session = aiohttp.ClientSession(
            cookie_jar=jar, timeout=aiohttp.ClientTimeout(total=None, sock_connect=10)
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    # -- the hub

    async def login(self) -> None:
        """Log in by the hub's login page."""
        page = await self._text("GET", self.base / "hub/login")
        found = _XSRF_FIELD.search(page)
        form = {"username": self.name, "password": self._password}
        if found:
            form["_xsrf"] = found.group(1)
        await self._text("POST", self.base / "hub/login", data=form)
        cookies = self._session.cookie_jar.filter_cookies(self.base / "hub/")
        if not any(name.startswith("jupyterhub-hub-login") for name in cookies):
            raise RequestFailedError(403, str(self.base / "hub/login"), "the hub did not log us in")

    async def start_server(
        self, *, server: str = "", profile: str = "", timeout: float = 180
    ) -> list[str]:
        """Start one's notebook server by the spawn page; returns the spawn log's lines.

        profile: which of the page's profiles, where it has some; empty: the page's default.
        """
        spawn = self.base / "hub/spawn" / self.name
        if server:
            spawn = spawn / server
        page = await self._text("GET", spawn)
        if _SPAWN_FORM in page:
            form = {"profile": profile} if profile else {}
            await self._text("POST", spawn, data=form)
        path = f"servers/{server}" if server else "server"
        progress = self.base / "hub/api/users" / self.name / path / "progress"
        lines: list[str] = []
        async with asyncio.timeout(timeout):
            async with self._request("GET", progress) as response:
                await _raise_for_status(response)
                async for line in response.content:
                    if not line.startswith(b"data: "):
                        continue
                    event = json.loads(line.removeprefix(b"data: "))
                    lines.append(event.get("message", ""))
                    if event.get("failed"):
                        raise RequestFailedError(500, str(progress), event["message"])
                    if event.get("ready"):
                        break
            await self.sign_in_to_server(server=server)
        return lines

    async def failure_of_start(self, *, server: str, profile: str, timeout: float = 60) -> str:
        """Start a server that can't start; returns what the hub's page says in the end."""
        spawn = self.base / "hub/spawn" / self.name / server
        pending = self.base / "hub/spawn-pending" / self.name / server
        await self._text("GET", spawn)
        try:
            await self._text("POST", spawn, data={"profile": profile})
            async with asyncio.timeout(timeout):
                while True:  # the page says so once all of the start is gone again
                    await self._text("GET", pending)
                    await asyncio.sleep(0.5)
        except RequestFailedError as error:
            return unescape(error.body)

    async def has_server(self) -> bool:
        """Whether one's default server runs. Without profiles, logging in begins to start it."""
        return bool((await self.user())["servers"].get("", {}).get("ready"))

    async def sign_in_to_server(self, *, server: str = "") -> None:
        """Open the first page of one's running server, which signs us in there."""
        await self._text("GET", self._server(server) / "lab")

    async def stop_server(self, *, server: str = "", timeout: float = 60) -> None:
        """Stop one's server and wait until the hub has let go of it."""
        path = f"servers/{server}" if server else "server"
        url = self.base / "hub/api/users" / self.name / path
        await self._text("DELETE", url)
        async with asyncio.timeout(timeout):
            # The hub's API has no event for it.
            while (await self.user())["servers"].get(server):  # noqa: ASYNC110
                await asyncio.sleep(0.2)

    async def api_token(self, *scopes: str, expires_in: int = 3600) -> str:
        """A new token of one's own, as the hub's token page makes them; for programs.

        scopes: what it may be used for; none: all that oneself may do. expires_in: seconds.
        """
        url = self.base / "hub/api/users" / self.name / "tokens"
        wanted = {"note": "a program", "expires_in": expires_in} | (
            {"scopes": scopes} if scopes else {}
        )
        model = await self._json("POST", url, json=wanted)
        return str(model["token"])

    async def revoke_tokens(self) -> None:
        """Revoke what `api_token` made."""
        url = self.base / "hub/api/users" / self.name / "tokens"
        for model in (await self._json("GET", url))["api_tokens"]:
            if model["note"] == "a program":
                await self._text("DELETE", url / model["id"])

    async def user(self) -> dict[str, Any]:
        """The hub's model of oneself."""
        model: dict[str, Any] = await self._json("GET", self.base / "hub/api/users" / self.name)
        return model

    async def delete_others(self) -> None:
        """Delete everybody else's accounts, servers and volumes; for an administrator.

        A server that is starting or stopping is waited for: the hub deletes nobody before.
        """
        users = self.base / "hub/api/users"
        async with asyncio.timeout(60):
            while True:
                others = [one for one in await self._json("GET", users) if one["name"] != self.name]
                for model in others:
                    if not _is_pending(model):
                        await self._text("DELETE", users / model["name"])
                if not any(map(_is_pending, others)):
                    return
                await asyncio.sleep(0.2)

    async def make_group(self, name: str, *users: str) -> None:
        """Make a group of these users; for an administrator."""
        url = self.base / "hub/api/groups" / name
        await self._text("POST", url, json={"users": users})

    async def delete_group(self, name: str) -> None:
        """Delete a group; for an administrator."""
        await self._text("DELETE", self.base / "hub/api/groups" / name)

    async def service(self, path: str, **query: str) -> Any:
        """JSON of a page of the hub's elastic service, where the hub signs us in first."""
        await self._text("GET", self.base / "services/elastic/")
        page = (self.base / "services/elastic" / path).with_query(query)
        return await self._json("GET", page)

    async def keep(self, kernel: str) -> dict[str, Any]:
        """Keep an idle kernel of that resource's name for longer, as the service's page does."""
        url = self.base / "services/elastic/"
        await self._text("GET", url)
        model: dict[str, Any] = await self._json("POST", url / "api/kernels" / kernel / "keep")
        return model

    # -- the notebook server

    @property
    def server_url(self) -> URL:
        """One's default server."""
        return self._server()

    def _server(self, server: str = "") -> URL:
        url = self.base / "user" / self.name
        return url / server if server else url

    async def kernelspecs(self, *, server: str = "") -> dict[str, Any]:
        """{"default": name, "kernelspecs": {name: model}} as JupyterLab gets it."""
        specs: dict[str, Any] = await self._json("GET", self._server(server) / "api/kernelspecs")
        return specs

    async def kernelspec(self, name: str) -> dict[str, Any]:
        """The model of one kernelspec."""
        url = self._server() / "api/kernelspecs" / name
        model: dict[str, Any] = await self._json("GET", url)
        return model

    async def sessions(self) -> list[dict[str, Any]]:
        """The models of one's open notebooks and their kernels."""
        models: list[dict[str, Any]] = await self._json("GET", self._server() / "api/sessions")
        return models

    async def kernels(self) -> list[dict[str, Any]]:
        """The models of the kernels that one's server lists."""
        models: list[dict[str, Any]] = await self._json("GET", self._server() / "api/kernels")
        return models

    async def save_file(self, path: str, text: str) -> None:
        """Save a file in one's home, as by JupyterLab's upload."""
        body = {"type": "file", "format": "text", "content": text}
        await self._text("PUT", self._server() / "api/contents" / path, json=body)

    async def make_folder(self, path: str) -> None:
        """Make a folder in one's home, unless it is there."""
        url = self._server() / "api/contents" / path
        await self._text("PUT", url, json={"type": "directory"})

    async def file(self, path: str) -> str:
        """The text of a file in one's home."""
        return str((await self._json("GET", self._server() / "api/contents" / path))["content"])

    async def notebook(self, path: str) -> dict[str, Any]:
        """The content of a notebook in one's home, as it was saved last."""
        model = await self._json("GET", self._server() / "api/contents" / path)
        return dict(model["content"])

    async def start_kernel(
        self, spec: str, *, server: str = "", wait: bool = True, **body: Any
    ) -> str:
        """Start a kernel through one's notebook server; its id once it answers.

        wait: False for a kernel that may still be starting.
        """
        url = self._server(server) / "api/kernels"
        model = await self._json("POST", url, json={"name": spec, **body})
        kernel = str(model["id"])
        if wait and _WAITS in model:
            async with self.connect(kernel, server=server):  # it ends where nobody is connected
                while _WAITS in (model := await self._json("GET", url / kernel)):
                    if model["execution_state"] == "dead":
                        told = json.dumps({"message": model["reason"]})
                        raise RequestFailedError(500, str(url), told)
                    await asyncio.sleep(0.2)
        return kernel

    async def open_notebook(self, path: str, spec: str) -> str:
        """Open a notebook on a kernel, as JupyterLab does; returns the kernel's id."""
        body = {"path": path, "name": path, "type": "notebook", "kernel": {"name": spec}}
        model = await self._json("POST", self._server() / "api/sessions", json=body)
        return str(model["kernel"]["id"])

    async def interrupt(self, kernel: str) -> None:
        """Interrupt a kernel, as by JupyterLab's stop button."""
        await self._text("POST", self._server() / "api/kernels" / kernel / "interrupt", json={})

    async def restart(self, kernel: str) -> None:
        """Restart a kernel, as by JupyterLab's restart button."""
        await self._text("POST", self._server() / "api/kernels" / kernel / "restart", json={})

    async def shut_down(self, kernel: str) -> None:
        """Shut a kernel down."""
        await self._text("DELETE", self._server() / "api/kernels" / kernel)

    @contextlib.asynccontextmanager
    async def connect(self, kernel: str, *, server: str = "") -> AsyncIterator[Connection]:
        """A websocket to a kernel, as a notebook that is open in JupyterLab has it."""
        url = self._server(server) / "api/kernels" / kernel / "channels"
        async with connected(self._session, url, headers=self._xsrf(url)) as connection:
            yield connection

    async def run(self, kernel: str, code: str, *, timeout: float = 60) -> Execution:
        """Run one cell on a connection of its own."""
        async with self.connect(kernel) as connection:
            return await connection.execute(code, timeout=timeout)

    # -- requests

    def _xsrf(self, url: URL) -> dict[str, str]:
        cookie = self._session.cookie_jar.filter_cookies(url).get("_xsrf")
        return {"X-XSRFToken": cookie.value} if cookie else {}

    def _request(self, method: str, url: URL, **kwargs: Any) -> Any:
        headers = {**self._xsrf(url), "Referer": str(self.base)}
        return self._session.request(method, url, headers=headers, **kwargs)

    async def _text(self, method: str, url: URL, **kwargs: Any) -> str:
        async with self._request(method, url, **kwargs) as response:
            await _raise_for_status(response)
            return str(await response.text())

    async def _json(self, method: str, url: URL, **kwargs: Any) -> Any:
        return json.loads(await self._text(method, url, **kwargs))


def _is_pending(user: dict[str, Any]) -> bool:
    servers = user.get("servers") or {}
    return bool(user.get("pending")) or any(one.get("pending") for one in servers.values())


async def _raise_for_status(response: aiohttp.ClientResponse) -> None:
    if response.status >= 400:
        raise RequestFailedError(response.status, str(response.url), await response.text())

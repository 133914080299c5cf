"""A real JupyterHub for tests: its API, groups and roles, configured by `configure`, no servers.

Without the proxy that a hub usually starts, as nobody comes by browser. Run as the hub's
configuration file, and imported by tests.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from jupyterhub.proxy import Proxy

SERVICE_TOKEN = "service-token"
_ADMIN_TOKEN = "admin-token"
_PORT = "REAL_HUB_PORT"
_SECONDS = 60.0
PAGE = 20


class NoProxy(Proxy):  # type: ignore[misc]
    """Routes nothing."""

    async def start(self) -> None:
        """Not needed."""

    async def add_route(self, *_: Any) -> None:
        """Not needed."""

    async def delete_route(self, *_: Any) -> None:
        """Not needed."""

    async def get_all_routes(self) -> dict[str, Any]:
        """There are none."""
        return {}


@dataclass(frozen=True)
class RealHub:
    """Calls its API as an administrator."""

    api_url: str
    session: aiohttp.ClientSession
    process: asyncio.subprocess.Process

    async def call(
        self, method: str, path: str, body: Any = None, *, token: str = _ADMIN_TOKEN
    ) -> tuple[int, Any]:
        """Status and JSON of one request."""
        headers = {"Authorization": f"token {token}"}
        async with self.session.request(
            method, self.api_url + path, json=body, headers=headers
        ) as response:
            text = await response.text()
            return response.status, json.loads(text) if text else None

    async def group(self, name: str, *users: str, **properties: str) -> None:
        """Make a group of these users, who are made too; properties with __ for a dot."""
        for user in users:
            await self.call("POST", f"/users/{user}")
        status, _ = await self.call("POST", f"/groups/{name}", {"users": list(users)})
        assert status in (201, 409), status
        await self.write(name, {key.replace("__", "."): text for key, text in properties.items()})

    async def write(self, group: str, properties: dict[str, Any]) -> None:
        """Write a group's properties, as the admin page does."""
        status, _ = await self.call("PUT", f"/groups/{group}/properties", properties)
        assert status == 200, status


@asynccontextmanager
async def real_hub(folder: Path, *, port: int = 0) -> AsyncIterator[RealHub]:
    """Run it until the block ends, with its database in `folder`."""
    port = port or _free_port()
    environment = {**os.environ, _PORT: str(port), "POD_NAMESPACE": "jupyter"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    command = [sys.executable, "-m", "jupyterhub", "-f", str(Path(__file__))]
    log = (folder / "hub.log").open("a")
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env=environment, stdout=log, stderr=log
    )
    try:
        async with aiohttp.ClientSession() as session:
            hub = RealHub(f"http://127.0.0.1:{port}/hub/api", session, process)
            await _answers(hub, folder)
            yield hub
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        log.close()


async def _answers(hub: RealHub, folder: Path) -> None:
    async with asyncio.timeout(_SECONDS):
        while True:
            try:
                if (await hub.call("GET", "/"))[0] == 200:
                    return
            except aiohttp.ClientError:
                pass
            if hub.process.returncode is not None:
                raise AssertionError((folder / "hub.log").read_text()[-3000:])
            await asyncio.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _configure(c: Any) -> None:
    from elastic_spawner import configure

    port = int(os.environ[_PORT])
    c.JupyterHub.proxy_class = NoProxy
    c.JupyterHub.authenticator_class = "dummy"
    c.JupyterHub.db_url = "sqlite:///hub.sqlite"
    c.JupyterHub.hub_ip = "127.0.0.1"
    c.JupyterHub.api_page_default_limit = c.JupyterHub.api_page_max_limit = PAGE
    c.JupyterHub.hub_port = port
    c.JupyterHub.services = [
        {"name": "elastic", "api_token": SERVICE_TOKEN},
        {"name": "administrator", "api_token": _ADMIN_TOKEN},
    ]
    c.JupyterHub.load_roles = [
        {
            "name": "test-administrator",
            "services": ["administrator"],
            "scopes": ["admin:groups", "admin:users"],
        }
    ]
    configure(
        c,
        {
            "gateway": {"image": "elastic/gateway:dev"},
            "service": {"external": True},
            "hub": {"apiUrl": f"http://127.0.0.1:{port}/hub/api"},
        },
    )


if "get_config" in globals():
    _configure(get_config())  # type: ignore[name-defined]  # noqa: F821

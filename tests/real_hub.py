"""A real JupyterHub for tests: its API, groups and roles, configured by `configure`, no servers.

Without the proxy that a hub usually starts, as nobody comes by browser. Run as the hub's
configuration file, and imported by tests.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jupyterhub.proxy import Proxy

from hub_service.names import kernels_scope

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
    """Calls its API, as an administrator unless another token is given."""

    api_url: str

    def call(
        self, method: str, path: str, body: Any = None, *, token: str = _ADMIN_TOKEN
    ) -> tuple[int, Any]:
        """Status and JSON of one request. OSError where the hub does not answer."""
        request = urllib.request.Request(
            self.api_url + path,
            method=method,
            headers={"Authorization": f"token {token}"},
            data=None if body is None else json.dumps(body).encode(),
        )
        try:
            with urllib.request.urlopen(request, timeout=_SECONDS) as response:
                return response.status, _json(response.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _json(error.read())

    def group(self, name: str, *users: str, properties: dict[str, Any] | None = None) -> None:
        """Make a group of these users, who are made too."""
        for user in users:
            self.call("POST", f"/users/{user}")
        status, answer = self.call("POST", f"/groups/{name}", {"users": list(users)})
        assert status == 201, answer
        self.write(name, properties or {})

    def token(self, user: str) -> str:
        """A token of that user's for programs, which the gateway takes."""
        body = {"scopes": [kernels_scope("elastic")]}
        status, answer = self.call("POST", f"/users/{user}/tokens", body)
        assert status == 201, answer
        return str(answer["token"])

    def write(self, group: str, properties: dict[str, Any]) -> None:
        """Write a group's properties, as the admin page does."""
        status, answer = self.call("PUT", f"/groups/{group}/properties", properties)
        assert status == 200, answer


def _json(body: bytes) -> Any:
    return json.loads(body) if body else None


@contextmanager
def real_hub(folder: Path, *, port: int = 0) -> Iterator[RealHub]:
    """Run it until the block ends, with its database in `folder`."""
    port = port or free_port()
    environment = {**os.environ, _PORT: str(port), "POD_NAMESPACE": "jupyter"}
    environment["PYTHONPATH"] = str(Path(__file__).parent.parent)
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    command = [sys.executable, "-m", "jupyterhub", "-f", str(Path(__file__))]
    with (folder / "hub.log").open("a") as log:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            hub = RealHub(f"http://127.0.0.1:{port}/hub/api")
            deadline = time.monotonic() + _SECONDS
            while not _answers(hub):
                if process.poll() is not None or time.monotonic() > deadline:
                    raise AssertionError((folder / "hub.log").read_text()[-3000:])
                time.sleep(0.1)
            yield hub
        finally:
            process.kill()
            process.wait()


def _answers(hub: RealHub) -> bool:
    try:
        return hub.call("GET", "/")[0] == 200
    except OSError:
        return False


def free_port() -> int:
    """A TCP port that nobody listens on, here and now."""
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
            "scopes": ["admin:groups", "admin:users", "tokens", kernels_scope("elastic")],
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

"""How soon a gateway that was killed serves its kernels again.

The gateway is a process of its own. Of its kernels there is what it finds them by, JupyterKernels
and Secrets, and an address each where heartbeats and questions are answered; there is a hub that
knows one user.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import statistics
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import aiohttp
import zmq.asyncio
from aiohttp import web
from jupyter_client.session import Session

from benchmarks.service import GATEWAY, a_gateway, each, free_port, fresh_namespace
from demo.install import ROOT
from elastic_spawner.gateway.kernel_resource import (
    PORTS,
    KernelRequest,
    connection_info,
    connection_secret,
    jupyter_kernel,
)
from hub_service import timestamps
from hub_service.kinds import JUPYTER_GATEWAYS, JUPYTER_KERNELS, SECRETS, Object, Phase, name_of
from hub_service.kube import Cluster

# Enterprise Gateway's pins need an environment of their own.
_PYTHON = ROOT / ".venv-gateway" / "bin" / "python"
_TOKEN = secrets.token_hex(16)
_USER = "bench"
_SECONDS = 120.0
_INTRODUCTION = {
    "status": "ok",
    "protocol_version": "5.3",
    "implementation": "none",
    "implementation_version": "0",
    "language_info": {"name": "python", "version": "3"},
    "banner": "",
    "help_links": [],
}


async def measure(cluster: Cluster, count: int, rounds: int) -> dict[str, float]:
    """Seconds from the process's start until it lists all kernels to their owner; medians.

    Beside it, the same without any kernel: what the process itself needs to listen.
    """
    if not _PYTHON.exists():
        raise RuntimeError(f"{_PYTHON} is missing: run `make venv`")
    alone: list[float] = []
    found: list[float] = []
    async with fresh_namespace(cluster) as namespace, _hub() as hub:
        await cluster.create(JUPYTER_GATEWAYS, namespace, a_gateway(namespace))
        gateway = _Gateway(hub, namespace)
        for _ in range(rounds + 1):
            alone.append(await gateway.until_it_lists(0))
            await gateway.kill()
        keys = {f"127.50.{n // 250}.{n % 250 + 1}": secrets.token_hex(16) for n in range(count)}
        async with _kernels(keys):
            await each(keys.items(), lambda one: _kernel(cluster, namespace, *one))
            for turn in range(rounds + 1):
                found.append(await gateway.until_it_lists(count))
                await gateway.kill()
                print(
                    f"  readopt {turn}: {count} kernels after {found[-1]:.2f} s, "
                    f"none after {alone[turn]:.2f} s",
                    flush=True,
                )
    return {
        "gateway_readopt_s": round(statistics.median(found[1:]), 2),
        "gateway_start_s": round(statistics.median(alone[1:]), 2),
        "gateway_readopt_kernels": count,
        "gateway_readopt_rounds": rounds,
    }


class _Gateway:
    """The process, started again and again."""

    def __init__(self, hub: str, namespace: str) -> None:
        self._port = free_port()
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(Path.home()),
            "KUBECONFIG": os.environ["KUBECONFIG"],
            "JUPYTERHUB_API_URL": hub,
            "ELASTIC_NAMESPACE": namespace,
            "ELASTIC_GATEWAY_NAME": GATEWAY,
            "ELASTIC_LOG_LEVEL": "WARNING",
            "ELASTIC_PORT": str(self._port),
        }
        self._process: asyncio.subprocess.Process

    async def until_it_lists(self, count: int) -> float:
        """Start it; seconds until it says of so many kernels that they are idle."""
        started = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            _PYTHON, "-m", "elastic_spawner.gateway", cwd=ROOT, env=self._environment
        )
        try:
            await self._lists(count)
        except BaseException:
            await self.kill()
            raise
        return time.monotonic() - started

    async def _lists(self, count: int) -> None:
        url = f"http://127.0.0.1:{self._port}/api/kernels"
        headers = {"Authorization": f"token {_TOKEN}"}
        async with asyncio.timeout(_SECONDS), aiohttp.ClientSession(headers=headers) as client:
            while self._process.returncode is None:
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with client.get(url) as response:
                        models = await response.json() if response.ok else None
                    idle = [m for m in models or () if m["execution_state"] == "idle"]
                    if models is not None and len(idle) == count:
                        return
                await asyncio.sleep(0.02)  # nothing else tells that it listens
        raise RuntimeError(f"the gateway ended with status {self._process.returncode}")

    async def kill(self) -> None:
        """SIGKILL."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()


async def _kernel(cluster: Cluster, namespace: str, address: str, key: str) -> None:
    """An idle kernel's Secret and JupyterKernel, as gateway and service leave them."""
    request = KernelRequest(
        kernel_id=str(uuid.uuid4()),
        namespace=namespace,
        gateway=GATEWAY,
        gateway_namespace=namespace,
        owner=_USER,
        server="",
        spec_name="python",
        kernel_name="python",
        interrupt_mode="message",
        template={"spec": {"containers": [{"name": "kernel"}]}},
    )
    connection = connection_info(address, {"key": key})
    await cluster.create(SECRETS, namespace, connection_secret(request, json.dumps(connection)))
    kernel = jupyter_kernel(request)
    await cluster.create(JUPYTER_KERNELS, namespace, kernel)
    await cluster.merge_patch(
        JUPYTER_KERNELS,
        namespace,
        name_of(kernel),
        {"status": _idle(address)},
        subresource="status",
    )


def _idle(address: str) -> Object:
    now = datetime.now(UTC)
    stamp = timestamps.seconds(now)
    return {
        "phase": Phase.RUNNING,
        "incarnation": 0,
        "podIP": address,
        "startTime": stamp,
        "conditions": [
            {
                "type": kind,
                "status": "True",
                "reason": "Simulated",
                "message": "",
                "lastUpdateTime": stamp,
                "lastTransitionTime": stamp,
            }
            for kind in ("Admitted", "TemplateAccepted", "Running")
        ],
        "activity": {
            "executionState": "idle",
            "lastActivity": timestamps.microseconds(now),
            "idleSince": timestamps.microseconds(now),
            "connections": 0,
        },
    }


@contextlib.asynccontextmanager
async def _kernels(keys: Mapping[str, str]) -> AsyncIterator[None]:
    """What a gateway hears of idle kernels, at these addresses, signed with these keys.

    Heartbeats and kernel_info_requests are answered. The other ports are there: a gateway would
    try them again and again.
    """
    context = zmq.asyncio.Context()
    context.set(zmq.ContextOption.MAX_SOCKETS, 4 * len(keys) + 10)

    def bound(stack: contextlib.ExitStack, kind: int, address: str, port: str) -> Any:
        socket = stack.enter_context(context.socket(kind))
        socket.linger = 0
        socket.bind(f"tcp://{address}:{PORTS[port]}")
        return socket

    async def beat(heart: zmq.asyncio.Socket) -> None:
        while True:
            await heart.send(await heart.recv())

    async def answer(shell: zmq.asyncio.Socket, session: Session) -> None:
        while True:
            identities, parts = session.feed_identities(await shell.recv_multipart())
            request = session.deserialize(parts)
            reply = session.msg("kernel_info_reply", _INTRODUCTION, parent=request)
            await shell.send_multipart(session.serialize(reply, ident=identities))

    with contextlib.ExitStack() as stack:
        tasks = []
        for address, key in keys.items():
            heart = bound(stack, zmq.SocketType.REP, address, "hb_port")
            shell = bound(stack, zmq.SocketType.ROUTER, address, "shell_port")
            bound(stack, zmq.SocketType.PUB, address, "iopub_port")
            bound(stack, zmq.SocketType.ROUTER, address, "control_port")
            tasks.append(asyncio.create_task(beat(heart)))
            tasks.append(asyncio.create_task(answer(shell, Session(key=key.encode()))))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
    context.term()


@contextlib.asynccontextmanager
async def _hub() -> AsyncIterator[str]:
    """A hub that says whose the token is; the URL of its API."""
    model = {
        "kind": "user",
        "name": _USER,
        "admin": False,
        "groups": [],
        "scopes": [f"access:servers!server={_USER}/"],
    }

    async def user(request: web.Request) -> web.Response:
        known = request.headers.get("Authorization") == f"token {_TOKEN}"
        return web.json_response(model if known else {}, status=200 if known else 403)

    application = web.Application()
    application.router.add_get("/hub/api/user", user)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port := free_port()).start()
        yield f"http://127.0.0.1:{port}/hub/api"
    finally:
        await runner.cleanup()

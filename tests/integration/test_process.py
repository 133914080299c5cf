"""`python -m hub_service` as the hub starts it: killed, told to stop, misconfigured."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import AsyncHTTPClient

from hub_service import settings
from hub_service.kinds import DEPLOYMENTS, JUPYTER_GATEWAYS, name_of, status_of
from hub_service.kube import Cluster
from tests.integration.support import DEADLINE, Observed, reflecting, until
from tests.real_hub import SERVICE_TOKEN, RealHub

ROOT = Path(__file__).parent.parent.parent
PREFIX = "/services/elastic/"


class Service:
    """The parent process, and what can be seen of it from outside."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, prefix: str) -> None:
        self.process = process
        self._health = f"http://127.0.0.1:{port}{prefix}health"

    @property
    def workers(self) -> list[int]:
        """Process ids of the parent's children that are alive."""
        pid = self.process.pid
        try:
            children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(child) for child in children if is_alive(int(child))]

    def kill_worker(self) -> int:
        """SIGKILL to the worker; its process id."""
        (pid,) = self.workers
        os.kill(pid, signal.SIGKILL)
        return pid

    async def is_ready(self) -> bool:
        """Whether its health page says so."""
        try:
            answer = await AsyncHTTPClient().fetch(self._health, raise_error=False)
        except OSError:
            return False
        return answer.code == 200

    async def ready(self) -> None:
        """Return once it is."""
        async with asyncio.timeout(DEADLINE):
            while not await self.is_ready():  # noqa: ASYNC110 - HTTP has no other way
                await asyncio.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie doesn't."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def environment(
    config: settings.Settings | None, hub: str = "http://127.0.0.1:9/hub/api"
) -> dict[str, str]:
    """What the hub and `configure` give to the service; `hub`: its API."""
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONWARNINGS": "error::ResourceWarning",
        "JUPYTERHUB_API_TOKEN": SERVICE_TOKEN,
        "JUPYTERHUB_API_URL": hub,
        "JUPYTERHUB_SERVICE_NAME": "elastic",
        "JUPYTERHUB_SERVICE_PREFIX": PREFIX,
        "JUPYTERHUB_CLIENT_ID": "service-elastic",
    }
    if "KUBECONFIG" in os.environ:
        given["KUBECONFIG"] = os.environ["KUBECONFIG"]
    if config is not None:
        given[settings.ENVIRONMENT_VARIABLE] = settings.dump(config)
    return given


@asynccontextmanager
async def started(
    variables: dict[str, str], port: int = 0, prefix: str = PREFIX, **options: Any
) -> AsyncIterator[Service]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "hub_service", cwd=ROOT, env=variables, **options
    )
    service = Service(process, port, prefix)
    try:
        yield service
    finally:
        for pid in [*service.workers, process.pid]:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await process.wait()


@pytest.fixture
async def service(config: Callable[..., settings.Settings], hub: RealHub) -> AsyncIterator[Service]:
    """A running service; kernels are never culled, everybody may have many."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    built = config(
        service={"port": port}, culling={"idleTimeout": 0}, quota={"kernelsPerUser": 100}
    )
    async with started(environment(built, hub.api_url), port) as running:
        await running.ready()
        yield running


async def test_a_killed_worker_is_back_at_once_and_goes_on(
    service: Service, start: Any, observed: Observed
) -> None:
    before = await start()
    await observed.phase(before, "Running")
    killed = service.kill_worker()
    await until(lambda: not is_alive(killed), 5)
    meanwhile = await start()
    await until(lambda: len(service.workers) == 1, 1)  # the next one is there within a second
    await service.ready()
    for kernel in (before, meanwhile):
        await observed.phase(kernel, "Running")
        assert observed.pods_made_for(kernel) == [name_of(kernel)]


async def test_killed_at_any_moment_each_start_completes_with_one_pod(
    service: Service, start: Any, observed: Observed
) -> None:
    kernels = []
    for milliseconds in (0, 10, 25, 50, 120, 300):
        await service.ready()
        kernels.append(await start())
        await asyncio.sleep(milliseconds / 1000)  # the moments of a start, not a wait for anything
        service.kill_worker()
        await until(lambda: len(service.workers) == 1, 15)
    for kernel in kernels:
        await observed.phase(kernel, "Running")
        assert observed.pods_made_for(kernel) == [name_of(kernel)]


async def test_told_to_stop_it_leaves_nothing(service: Service) -> None:
    (worker,) = service.workers
    service.process.terminate()
    assert await asyncio.wait_for(service.process.wait(), 10) == 0
    assert not is_alive(worker)


async def test_the_worker_does_not_outlive_its_parent(service: Service) -> None:
    (worker,) = service.workers
    service.process.kill()
    await service.process.wait()
    await until(lambda: not is_alive(worker), 10)


async def test_without_a_hub_it_needs_nothing_of_one(
    cluster: Cluster, namespace: str, config: Callable[..., settings.Settings]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    built = config(hub={"enabled": False}, service={"port": port})
    needed = ("PATH", "PYTHONWARNINGS", "KUBECONFIG", settings.ENVIRONMENT_VARIABLE)
    variables = {k: v for k, v in environment(built).items() if k in needed}
    body = {
        "apiVersion": JUPYTER_GATEWAYS.api_version,
        "kind": JUPYTER_GATEWAYS.kind,
        "metadata": {"name": "mine"},
    }
    async with (
        started(variables, port, prefix="/") as running,
        reflecting(cluster, JUPYTER_GATEWAYS, namespace) as gateways,
    ):
        await running.ready()
        await cluster.create(JUPYTER_GATEWAYS, namespace, body)
        known = await gateways.wait_for(
            (namespace, "mine"), lambda g: g and status_of(g).get("serviceTokenHash"), DEADLINE
        )
        # There is no shared gateway, and gateways are told of no hub.
        assert [name_of(item) for item in gateways.store] == ["mine"]
        deployment = json.dumps(await cluster.get(DEPLOYMENTS, namespace, "mine"))
        assert "JUPYTERHUB_API_URL" not in deployment
        # The next process has another token, and gateways learn of it.
        running.kill_worker()
        first = status_of(known or {})["serviceTokenHash"]
        await gateways.wait_for(
            (namespace, "mine"),
            lambda g: g and status_of(g).get("serviceTokenHash") not in (None, first),
            DEADLINE,
        )


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({settings.ENVIRONMENT_VARIABLE: ""}, "ELASTIC_SETTINGS: not set"),
        ({settings.ENVIRONMENT_VARIABLE: "{"}, "ELASTIC_SETTINGS is no JSON"),
        (
            {settings.ENVIRONMENT_VARIABLE: json.dumps({"gateway": {"image": "x"}, "quotas": {}})},
            "quotas: there is no such setting",
        ),
        ({"JUPYTERHUB_API_TOKEN": ""}, "JUPYTERHUB_API_TOKEN: not set"),
        ({"KUBECONFIG": "/nowhere"}, "Set KUBECONFIG"),
    ],
    ids=["no settings", "no JSON", "a typo", "not started by the hub", "no cluster"],
)
async def test_what_cannot_work_is_said_and_not_tried_again(
    change: dict[str, str], words: str
) -> None:
    built = settings.parse(
        {"gateway": {"image": "x"}, "hub": {"apiUrl": "http://hub.jhub:8081/hub/api"}}
    )
    variables = {**environment(built), **change}
    async with started(variables, stderr=asyncio.subprocess.PIPE) as running:
        _, said = await asyncio.wait_for(running.process.communicate(), 30)
        assert running.process.returncode == 78
    assert words in said.decode()
    assert "Traceback" not in said.decode()
    assert SERVICE_TOKEN not in said.decode()


async def test_a_worker_that_keeps_dying_is_started_less_and_less_often(
    config: Callable[..., settings.Settings],
) -> None:
    with socket.socket() as taken:
        taken.bind(("0.0.0.0", 0))
        taken.listen()
        built = config(service={"port": taken.getsockname()[1]})
        async with started(environment(built), stderr=asyncio.subprocess.PIPE) as running:
            delays: list[float] = []
            assert running.process.stderr is not None
            async with asyncio.timeout(DEADLINE):
                while len(delays) < 3:
                    line = (await running.process.stderr.readline()).decode()
                    if "the worker ended with status 1; again in" in line:
                        delays.append(float(line.split()[-2]))
            running.process.terminate()
            await asyncio.wait_for(running.process.communicate(), 15)
            assert running.process.returncode == 0
    assert delays == [0.1, 0.2, 0.4]

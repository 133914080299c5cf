"""The floor: a kernel in a pod made by hand, spoken to over ZeroMQ, with nothing in between."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import time
from collections.abc import AsyncIterator
from typing import Any

import zmq.asyncio
from jupyter_client.session import Session

from hub_service.kinds import PODS, SECRETS, Object
from hub_service.kube.client import Cluster
from hub_service.kube.reflector import Reflector
from hub_service.pods.podsecurity import hardened

_PORTS = {
    "shell_port": 52317,
    "iopub_port": 52318,
    "stdin_port": 52319,
    "control_port": 52320,
    "hb_port": 52321,
}
_SECONDS = 60.0


async def out_of_step() -> None:
    """Wait for a random while: kubelet looks at its pods once a second.

    What follows would otherwise always meet it at the same point of that second.
    """
    await asyncio.sleep(random.uniform(0.5, 1.5))


class BarePod:
    """One pod with a kernel of the given image in it."""

    def __init__(self, cluster: Cluster, pods: Reflector, namespace: str, image: str) -> None:
        self.name = f"bare-{secrets.token_hex(4)}"
        self._cluster = cluster
        self._pods = pods
        self._namespace = namespace
        self._image = image
        self._session = Session(key=secrets.token_hex(16).encode())

    @contextlib.asynccontextmanager
    async def connection_file(self) -> AsyncIterator[None]:
        """Its Secret, which is there before the clock starts."""
        connection = {
            "ip": "0.0.0.0",
            "transport": "tcp",
            "signature_scheme": "hmac-sha256",
            "key": self._session.key.decode(),
            **_PORTS,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": self.name},
            "stringData": {"connection.json": json.dumps(connection)},
        }
        await self._cluster.create(SECRETS, self._namespace, body)
        try:
            yield
        finally:
            await self._cluster.delete(SECRETS, self._namespace, self.name)

    async def first_reply(self, resources: dict[str, Any]) -> float:
        """Make the pod and run one line; seconds from the request to the reply."""
        started = time.monotonic()
        await self._cluster.create(PODS, self._namespace, self._body(resources))
        pod = await self._pods.wait_for((self._namespace, self.name), _has_address, _SECONDS)
        assert pod is not None
        await self._ask(pod["status"]["podIP"], "shell_port", "execute_request", _LINE)
        return time.monotonic() - started

    async def stop(self) -> None:
        """End the pod in the quickest way there is.

        The kernel is asked to end, since as a container's first process it takes no SIGTERM, and
        the deletion is on its way meanwhile: kubelet then waits for the end and sees it at once.
        """
        pod = await self._cluster.get(PODS, self._namespace, self.name)
        request = self._ask(
            pod["status"]["podIP"], "control_port", "shutdown_request", {"restart": False}
        )
        async with asyncio.TaskGroup() as both:
            both.create_task(request)
            both.create_task(self._cluster.delete(PODS, self._namespace, self.name, grace_period=2))

    async def _ask(self, address: str, port: str, kind: str, content: dict[str, Any]) -> None:
        """Send one signed request and wait for the reply."""
        socket = zmq.asyncio.Context.instance().socket(zmq.SocketType.DEALER)
        socket.linger = 0
        socket.reconnect_ivl = 10
        # A first packet that nobody takes yet is repeated by the system a second later, and again
        # after two.
        socket.setsockopt(zmq.SocketOption.CONNECT_TIMEOUT, 100)
        socket.connect(f"tcp://{address}:{_PORTS[port]}")
        try:
            message = self._session.msg(kind, content)
            await socket.send_multipart(self._session.serialize(message))
            async with asyncio.timeout(_SECONDS):
                await socket.recv_multipart()
        finally:
            socket.close()

    def _body(self, resources: dict[str, Any]) -> Object:
        return {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": self.name, "labels": {"app": "bare-pod"}},
            "spec": hardened(
                {
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 2,
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "containers": [
                        {
                            "name": "kernel",
                            "image": self._image,
                            "command": [
                                "python3",
                                "-m",
                                "ipykernel_launcher",
                                "-f",
                                "/run/elastic/connection.json",
                            ],
                            "resources": resources,
                            "volumeMounts": [{"name": "connection", "mountPath": "/run/elastic"}],
                        }
                    ],
                    "volumes": [
                        {
                            "name": "connection",
                            "secret": {"secretName": self.name, "defaultMode": 0o444},
                        }
                    ],
                }
            ),
        }


_LINE = {
    "code": "1",
    "silent": False,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
}


def _has_address(pod: Object | None) -> bool:
    return bool(pod and pod.get("status", {}).get("podIP"))

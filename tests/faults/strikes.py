"""How each kind of fault is brought about."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator

from demo.install import HUB_NAMESPACE
from hub_service.kinds import (
    COMPONENT_GATEWAY,
    JUPYTER_KERNELS,
    LABEL_COMPONENT,
    PODS,
    SECRETS,
    is_deleting,
    name_of,
    uid_of,
)
from hub_service.kube import Cluster
from tests.faults.api_proxy import ApiProxy
from tests.faults.model import Kernel
from tests.faults.node import Node
from tests.faults.plan import Fault, Kind

# For how many seconds the API server answers badly, and how.
_WINDOW = 5.0
_BADLY = {Kind.SLOW_ANSWERS: {"delay": 2.0}, Kind.FAILING_ANSWERS: {"failing": 0.4}}

_GATEWAY, _HUB, _SERVICE = "elastic_spawner.gateway", "jupyterhub", "hub_service.app"
_GATEWAY_PODS = f"{LABEL_COMPONENT}={COMPONENT_GATEWAY}"
_HUB_PODS = "component=hub"
_COMPONENTS = {Kind.KUBELET_KILLED: "kubelet", Kind.API_SERVER_KILLED: "kube-apiserver"}
_KILLED = {Kind.GATEWAY_KILLED: _GATEWAY, Kind.HUB_KILLED: _HUB, Kind.SERVICE_KILLED: _SERVICE}


class Strikes:
    """Strikes one cluster; `namespace` is the users'."""

    def __init__(self, cluster: Cluster, namespace: str, node: Node, proxy: ApiProxy) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._node = node
        self._proxy = proxy

    @contextlib.asynccontextmanager
    async def strike(self, fault: Fault, target: Kernel) -> AsyncIterator[None]:
        """The block begins when it has struck; what lasts is over when the block is left."""
        if fault.kind in _BADLY:
            self._proxy.answer_badly(**_BADLY[fault.kind])
            over = asyncio.create_task(self._well_again())
            yield
            await over
        else:
            await self._at_once(fault.kind, target)
            yield

    async def _well_again(self) -> None:
        await asyncio.sleep(_WINDOW)
        self._proxy.answer_badly()

    async def _at_once(self, kind: Kind, target: Kernel) -> None:
        match kind:
            case Kind.GATEWAY_KILLED | Kind.HUB_KILLED | Kind.SERVICE_KILLED:
                await self._signal(_KILLED[kind], signal.SIGKILL)
            case Kind.SERVICE_TERMINATED:
                await self._signal(_SERVICE, signal.SIGTERM)
            case Kind.GATEWAY_TERMINATED:
                await self._delete_pod(self._namespace, _GATEWAY_PODS)
            case Kind.HUB_TERMINATED:
                await self._delete_pod(HUB_NAMESPACE, _HUB_PODS)
            case Kind.SHIM_KILLED:
                pod = await self._cluster.get(PODS, self._namespace, target.name)
                self._node.kill(self._node.shim(uid_of(pod)), signal.SIGKILL)
            case Kind.KUBELET_KILLED | Kind.API_SERVER_KILLED:
                pid = self._node.component("localkube", _COMPONENTS[kind])
                self._node.kill(pid, signal.SIGKILL)
            case Kind.WATCH_CUT:
                self._proxy.cut_watches()
            case Kind.WATCH_EXPIRED:
                self._proxy.expire_watches()
            case Kind.HALF_OPEN:
                self._proxy.fall_silent()
            case Kind.POD_DELETED:
                await self._cluster.delete(PODS, self._namespace, target.name)
            case Kind.SECRET_DELETED:
                await self._cluster.delete(SECRETS, self._namespace, target.name)
            case Kind.RESOURCE_DELETED:
                await self._cluster.delete(JUPYTER_KERNELS, self._namespace, target.name)
            case _:
                pass  # what a user does

    async def _signal(self, name: str, number: signal.Signals) -> None:
        """To one of the processes of that name: the oldest, as the others may be its children."""
        async with asyncio.timeout(60):
            # The last fault may not have been made good yet, and tells nobody when it is.
            while not (found := self._node.in_pods(name)):  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        self._node.kill(min(found), number)

    async def _delete_pod(self, namespace: str, selector: str) -> None:
        """As by draining: the process gets SIGTERM, and another pod takes its place."""
        async with asyncio.timeout(60):
            while True:
                pods = (await self._cluster.list(PODS, namespace, selector))["items"]
                if found := [pod for pod in pods if not is_deleting(pod)]:
                    break
                await asyncio.sleep(0.2)
        await self._cluster.delete(PODS, namespace, name_of(found[0]))

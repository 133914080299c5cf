"""Takes out of kernels what pods of their gateway that are gone have said of them.

Each pod of a gateway writes its own connections, whether it hears the kernel's heart, and whether a
client of its own debugs the kernel; one that was killed can't take it back.
"""

from __future__ import annotations

from collections.abc import Iterable

from hub_service import timestamps
from hub_service.gateways.replicas import gateway_of_pod
from hub_service.kernels import liveness
from hub_service.kinds import JUPYTER_KERNELS, PODS, Object, gateway_reference, name_of, status_of
from hub_service.kube import Cluster, Key, Reflector, key_of
from hub_service.reconcile.calls import find, patch_status
from hub_service.reconcile.indexes import BY_GATEWAY


def counts(kernel: Object) -> dict[str, int]:
    """Connections to a kernel by pod of its gateway."""
    activity = status_of(kernel).get("activity") or {}
    return dict(activity.get("connectionsByPod") or {})


def of_new(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A kernel that is seen for the first time, of which its gateway's pods say something."""
    return (key,) if old is None and new is not None and _pods(new) else ()


def _pods(kernel: Object) -> set[str]:
    debugging = (status_of(kernel).get("activity") or {}).get("debuggingByPod") or {}
    return {*counts(kernel), *liveness.reports(kernel), *debugging}


class ConnectionsReconciler:
    """`reconcile` for a Controller that follows gateways' pods."""

    def __init__(self, cluster: Cluster, *, kernels: Reflector, gateway_pods: Reflector) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._gateway_pods = gateway_pods

    def kernels_of_pod(self, _key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which kernels the end of a gateway's pod concerns."""
        if old is None or new is not None:
            return ()
        kernels = self._kernels.store.by_index(BY_GATEWAY, gateway_of_pod(old))
        return [key_of(kernel) for kernel in kernels if name_of(old) in _pods(kernel)]

    async def reconcile(self, key: Key) -> float | None:
        """Take out what is said by pods that are gone."""
        kernel = self._kernels.store.get(key)
        reference = gateway_reference(kernel) if kernel else None
        if kernel is None or reference is None:
            return None
        pods = sorted(_pods(kernel))
        gone = [pod for pod in pods if not await self._is_there(Key(reference[0], pod))]
        if gone:
            left = sum(count for pod, count in counts(kernel).items() if pod not in gone)
            none = dict.fromkeys(gone)
            activity: Object = {
                "connections": left,
                "connectionsByPod": none,
                "heartbeatLostByPod": none,
                "debuggingByPod": none,
            }
            if not left and any(counts(kernel).values()):
                activity["lastConnected"] = timestamps.microseconds(timestamps.now())
            patch = {"activity": activity}
            await patch_status(self._cluster, JUPYTER_KERNELS, self._kernels, key, patch)
        return None

    async def _is_there(self, key: Key) -> bool:
        # The two reflectors aren't of the same moment: ask before believing that it is gone.
        if self._gateway_pods.store.get(key) is not None:
            return True
        return await find(self._cluster, PODS, key) is not None

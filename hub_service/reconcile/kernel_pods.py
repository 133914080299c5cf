"""The pods of JupyterKernels: found, made, and deleted when they are of no use."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext

from hub_service.kernels import kernel
from hub_service.kinds import (
    JUPYTER_KERNELS,
    PODS,
    Object,
    controller,
    controller_uid,
    is_deleting,
    name_of,
    namespace_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.pods.podsecurity import RESTRICTED, Policy
from hub_service.reconcile.calls import delete, find
from hub_service.reconcile.homes import Homes
from hub_service.reconcile.warm_claims import WarmClaims
from hub_service.starts.faults import Fault
from hub_service.warm.pods import is_delivered

BY_KERNEL = "kernel"

# A pod as it is to be created, in the block.
Joining = Callable[[Object], AbstractContextManager[Object]]


def kernel_of(pod: Object) -> str | None:
    """Index of pods by JupyterKernel, as the text of its key."""
    reference = controller(pod, JUPYTER_KERNELS.kind)
    return str(Key(namespace_of(pod), reference["name"])) if reference else None


def kernel_of_pod(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which kernel a pod's change concerns."""
    references = [(pod, controller(pod, JUPYTER_KERNELS.kind)) for pod in (old, new) if pod]
    return {Key(namespace_of(pod), owner["name"]) for pod, owner in references if owner}


def own_pod(pods: Reflector, item: Object) -> Object | None:
    """The pod of a kernel's wanted incarnation, as far as the watch has it."""
    pod = pods.store.get((namespace_of(item), kernel.pod_of_incarnation(item)))
    if pod is not None and _is_own(pod, item):
        return pod
    others = pods.store.by_index(BY_KERNEL, str(key_of(item)))
    return next((pod for pod in others if _is_own(pod, item)), None)


def _is_own(pod: Object, item: Object) -> bool:
    """Whether a pod is the one of a kernel's wanted incarnation: by its name, or warm before."""
    if controller_uid(pod, JUPYTER_KERNELS.kind) != uid_of(item):
        return False
    if name_of(pod) == kernel.pod_of_incarnation(item):
        return True
    return is_delivered(pod, kernel.incarnation(item))


class UnrunnableError(Exception):
    """A pod that there is no point in making; `fault` says why."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


class KernelPods:
    """`pods`: those with the service's labels; needs the indexes BY_KERNEL and those of
    WarmClaims. `security`: what pods may be. `joining`: the pod as it is to be created in the
    block, behind a gate perhaps.
    """

    def __init__(
        self,
        cluster: Cluster,
        pods: Reflector,
        homes: Homes,
        security: Policy = RESTRICTED,
        joining: Joining = nullcontext,
    ) -> None:
        self._cluster = cluster
        self._pods = pods
        self._homes = homes
        self._security = security
        self._claims = WarmClaims(cluster, pods)
        self._joining = joining

    def own(self, item: Object) -> Object | None:
        """The pod of a kernel's wanted incarnation, as far as the watch has it."""
        return own_pod(self._pods, item)

    async def find(self, item: Object) -> Object | None:
        """As `own`, asked of the API server: the watch may be behind."""
        names = {kernel.pod_of_incarnation(item), status_of(item).get("podName")}
        for name in filter(None, names):
            pod = await find(self._cluster, PODS, Key(namespace_of(item), name))
            if pod is not None and _is_own(pod, item):
                return pod
        return None

    async def make(self, item: Object) -> Object:
        """The pod of the wanted incarnation, made unless it is there.

        Raises ApiError, and UnrunnableError where the kernel can't have what it is to have.
        """
        body = kernel.desired_pod(item, self._security)
        wanted = await self._homes.furnish(item, body)
        if isinstance(wanted, Fault):
            raise UnrunnableError(wanted)
        if (claimed := await self._claims.claim(item, wanted)) is not None:
            return claimed
        with self._joining(wanted) as asked_for:
            pod = await self._created(item, asked_for)
            self._pods.record(pod)
        return pod

    async def _created(self, item: Object, wanted: Object) -> Object:
        try:
            return await self._cluster.create(PODS, namespace_of(item), wanted)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Made by this service before it was interrupted, or somebody else's.
            found = await self.find(item)
            if found is None:
                name = kernel.pod_of_incarnation(item)
                problem = f"There is a pod {name} already, which isn't this kernel's."
                raise ApiError(422, "Invalid", problem) from error
            return found

    async def remove(self, key: Key) -> None:
        """Delete a kernel's pods."""
        for pod in self._of(key):
            await delete(self._cluster, PODS, pod)

    async def release(self, item: Object) -> None:
        """Delete pods of a kernel that is over which go on, as with a container beside it."""
        for pod in self._of(key_of(item)):
            if status_of(pod).get("phase") not in ("Succeeded", "Failed"):
                await delete(self._cluster, PODS, pod)

    async def remove_others(self, item: Object) -> None:
        """Delete pods of earlier incarnations, and of an earlier kernel of this name."""
        for pod in self._of(key_of(item)):
            if not _is_own(pod, item):
                await delete(self._cluster, PODS, pod)

    async def remove_of_gone(self, key: Key) -> None:
        """Delete a deleted kernel's pods now, rather than when the cluster's collector comes by."""
        pods = self._of(key)
        if not pods:
            return
        # The two reflectors aren't of the same moment: ask before believing that it is gone.
        found = await find(self._cluster, JUPYTER_KERNELS, key)
        alive = None if found is None or is_deleting(found) else uid_of(found)
        for pod in pods:
            if controller_uid(pod, JUPYTER_KERNELS.kind) != alive:
                await delete(self._cluster, PODS, pod)

    def _of(self, key: Key) -> list[Object]:
        return self._pods.store.by_index(BY_KERNEL, str(key))

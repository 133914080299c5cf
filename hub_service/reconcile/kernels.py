"""JupyterKernel → admission → pod → status → cull.

What survives a restart is in the cluster: the status says what was admitted and which pod was made.
The order of writes follows from it. Admission is written before the pod is made, so that nothing
unadmitted has a pod; the pod's name is written after it was made, so that a start that was cut off
in between is completed.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from hub_service import conditions, culling, gateway, kernel, quota, timestamps
from hub_service.activity import Active, Sealed, Unknown
from hub_service.kinds import (
    ADMITTED,
    IDLE,
    JUPYTER_KERNELS,
    PODS,
    Object,
    Phase,
    condition,
    controller,
    controller_uid,
    gateway_reference,
    is_deleting,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.reconcile.calls import REFUSALS, delete, find, patch_status
from hub_service.reconcile.indexes import BY_GATEWAY
from hub_service.reconcile.seals import Seals

log = logging.getLogger(__name__)

BY_OWNER = "owner"
BY_KERNEL = "kernel"

# Seconds until a gateway that could not say is asked again.
_ASK_AGAIN = 10.0


class _GoneError(Exception):
    """The kernel was deleted while it was being worked on."""


@dataclass(frozen=True)
class Rules:
    """What the administrator set: kernels a user may have, and seconds of idleness (≤ 0: never)."""

    kernels_per_user: int
    idle_timeout: int


def owner_of(item: Object) -> str | None:
    """Index of JupyterKernels by owner."""
    owner = spec_of(item).get("owner")
    return None if owner is None else str(owner)


def kernel_of(pod: Object) -> str | None:
    """Index of pods by JupyterKernel, as the text of its key."""
    reference = controller(pod, JUPYTER_KERNELS.kind)
    return str(Key(namespace_of(pod), reference["name"])) if reference else None


def kernel_of_pod(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which kernel a pod's change concerns."""
    references = [(pod, controller(pod, JUPYTER_KERNELS.kind)) for pod in (old, new) if pod]
    return {Key(namespace_of(pod), owner["name"]) for pod, owner in references if owner}


class KernelReconciler:
    """`reconcile` for a Controller that follows the three reflectors.

    `kernels` needs the indexes BY_OWNER and BY_GATEWAY, `pods` BY_KERNEL. The pods are those with
    the service's labels. `is_overdue`: whether a kernel's server is gone for too long.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        pods: Reflector,
        gateways: Reflector,
        rules: Rules,
        seals: Seals,
        is_overdue: Callable[[Object], bool] = lambda _: False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        gateway_url: Callable[[str, str], str] = gateway.url,
        covers: Callable[[str], bool] = lambda _namespace: True,
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods
        self._gateways = gateways
        self._rules = rules
        self._seals = seals
        self._is_overdue = is_overdue
        self._now = clock
        self._gateway_url = gateway_url
        self._covers = covers
        self._assumed: dict[Key, str] = {}  # admitted here, while the status is being written

    def kernels_of_gateway(self, key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which kernels a gateway's change concerns: all of its own, if its spec changed."""
        if old and new and spec_of(old) == spec_of(new):
            return ()
        return [key_of(item) for item in self._kernels.store.by_index(BY_GATEWAY, str(key))]

    async def reconcile(self, key: Key) -> float | None:
        """Bring one kernel's pod and status to what they ought to be."""
        item = self._kernels.store.get(key)
        if item is None or is_deleting(item):
            self._assumed.pop(key, None)
            self._seals.drop(key)
            await self._remove_pods_of_gone(key)
            return None
        try:
            return await self._reconcile(key, item)
        except _GoneError:
            return None  # its deletion brings the key back here

    async def _reconcile(self, key: Key, item: Object) -> float | None:
        if self._seals.is_asking(key):
            return None  # the answer brings the key back here
        answer = self._seals.take(key)
        if isinstance(answer, Sealed):
            # Before the pod is looked at: the gateway has ended the kernel's process already.
            await self._end_idle(key, item)
            return None
        await self._remove_other_pods(item)
        if not kernel.is_decided(item):
            item = await self._admit(key, item)
        self._assumed.pop(key, None)
        if status_of(item).get("phase") == Phase.CULLED:
            await self._end(item)
            return None
        if kernel.is_admitted(item):
            item = await self._run(item)
        if kernel.is_finished(item):
            await (self._end(item) if self._is_overdue(item) else self._release(item))
            return None
        return self._cull(key, item, answer)

    async def _admit(self, key: Key, item: Object) -> Object:
        now = self._now()
        if kernel.is_admitted(item):
            # A new incarnation of a kernel that holds its place keeps it.
            entry = condition(item, ADMITTED) or {}
            decision = quota.Decision(True, entry.get("reason", ""), entry.get("message", ""))
        else:
            # No await between looking at the others and remembering the decision.
            decision = quota.decide(
                item,
                self._kernels_of_owner(item),
                limit=self._rules.kernels_per_user,
                assumed=self._assumed.values(),
                now=now,
            )
            if decision.admitted:
                self._assumed[key] = uid_of(item)
        log.info("kernel %s: %s", key, decision.message if decision.admitted else "over the quota")
        status = kernel.status_of_admission(
            item,
            admitted=decision.admitted,
            reason=decision.reason,
            message=decision.message,
            now=now,
        )
        return await self._write(item, status)

    async def _run(self, item: Object) -> Object:
        """Make the incarnation's pod if it was never made, and report its state."""
        namespace, name = namespace_of(item), kernel.pod_of_incarnation(item)
        pod = self._pods.store.get((namespace, name))
        if pod is not None and controller_uid(pod, JUPYTER_KERNELS.kind) != uid_of(item):
            pod = None
        if pod is None:
            try:
                if status_of(item).get("podName") == name:
                    pod = await self._find_pod(item, namespace, name)
                else:
                    pod = await self._make_pod(item, namespace, name)
            except ApiError as error:
                if error.status not in REFUSALS:
                    raise
                log.warning(
                    "kernel %s/%s: its pod was refused: %s", namespace, name_of(item), error
                )
                return await self._write(
                    item, kernel.status_of_rejection(item, error.message, self._now())
                )
        return await self._write(item, kernel.status_of_pod(item, pod, self._now()))

    async def _make_pod(self, item: Object, namespace: str, name: str) -> Object:
        try:
            pod = await self._cluster.create(PODS, namespace, kernel.desired_pod(item))
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
            # Made by this service before it was interrupted, or somebody else's.
            found = await self._find_pod(item, namespace, name)
            if found is None:
                problem = f"There is a pod {name} already, which isn't this kernel's."
                raise ApiError(422, "Invalid", problem) from error
            pod = found
        self._pods.record(pod)
        return pod

    async def _find_pod(self, item: Object, namespace: str, name: str) -> Object | None:
        """The kernel's pod, asked of the API server: the watch may be behind."""
        pod = await find(self._cluster, PODS, Key(namespace, name))
        same = pod is not None and controller_uid(pod, JUPYTER_KERNELS.kind) == uid_of(item)
        return pod if same else None

    def _cull(self, key: Key, item: Object, answer: Active | Unknown | None) -> float | None:
        """Ask the gateway when the kernel's time is over; seconds until the next look."""
        if isinstance(answer, Unknown):
            log.warning("kernel %s: not culled: %s", key, answer.why)
            return _ASK_AGAIN
        now, rule = self._now(), self._policy(item)
        if answer is not None:
            # Its report is on the way; until it arrives the gateway's word is the newest.
            if answer.execution_state != IDLE or answer.last_activity is None or not rule.seconds:
                return _ASK_AGAIN
            idle_for = (now - answer.last_activity).total_seconds()
            return max(rule.seconds - idle_for, 0.5)
        verdict = culling.decide(item, rule, now)
        if isinstance(verdict, culling.Keep):
            return (verdict.until - now).total_seconds() if verdict.until else None
        reference = gateway_reference(item)
        if reference is None or not spec_of(item).get("kernelID"):
            log.warning("kernel %s: not culled: it names no gateway that could say", key)
            return None
        namespace, name = reference
        if not self._covers(namespace) or self._gateways.store.get(reference) is None:
            # The service's token goes to gateways that an administrator made, not to any address
            # that a kernel names. A gateway that comes brings the key back here.
            log.warning("kernel %s: not culled: there is no gateway %s/%s", key, namespace, name)
            return None
        url = self._gateway_url(name, namespace)
        self._seals.ask(key, url, spec_of(item)["kernelID"], verdict.idle_before)
        return None

    async def _end_idle(self, key: Key, item: Object) -> None:
        rule = self._policy(item)
        message = f"The kernel was idle for {rule.seconds} s or more, which is {rule.source}."
        log.info("kernel %s: culled: %s", key, message)
        await self._write(item, kernel.status_of_cull(item, message, self._now()))
        await self._end(item)

    def _kernels_of_owner(self, item: Object) -> list[Object]:
        """In all namespaces: a user's kernels count together wherever they are."""
        every = self._kernels.store.by_index(BY_OWNER, owner_of(item) or "")
        return [other for other in every if self._covers(namespace_of(other))]

    def _policy(self, item: Object) -> culling.Policy:
        if self._is_overdue(item):
            return culling.LOST_SERVER
        reference = gateway_reference(item)
        found = self._gateways.store.get(reference) if reference else None
        return culling.policy(item, found, self._rules.idle_timeout)

    async def _write(self, item: Object, status: Object) -> Object:
        """Write what differs; the kernel as it is then."""
        patch = conditions.patch(status_of(item), status)
        if not patch:
            return item
        patch["lastReconcileTime"] = timestamps.seconds(self._now())
        try:
            return await patch_status(
                self._cluster, JUPYTER_KERNELS, self._kernels, key_of(item), patch
            )
        except ApiError as error:
            if error.status == 404:
                raise _GoneError from error
            raise

    async def _end(self, item: Object) -> None:
        """Delete a kernel and its pods."""
        for pod in self._pods_of(key_of(item)):
            await delete(self._cluster, PODS, pod)
        await delete(self._cluster, JUPYTER_KERNELS, item)

    async def _release(self, item: Object) -> None:
        """Delete pods of a kernel that is over which go on, as with a container beside it."""
        for pod in self._pods_of(key_of(item)):
            if status_of(pod).get("phase") not in ("Succeeded", "Failed"):
                await delete(self._cluster, PODS, pod)

    async def _remove_other_pods(self, item: Object) -> None:
        """Delete pods of earlier incarnations, and of an earlier kernel of this name."""
        wanted = kernel.pod_of_incarnation(item)
        for pod in self._pods_of(key_of(item)):
            same = controller_uid(pod, JUPYTER_KERNELS.kind) == uid_of(item)
            if not same or name_of(pod) != wanted:
                await delete(self._cluster, PODS, pod)

    async def _remove_pods_of_gone(self, key: Key) -> None:
        """Delete a deleted kernel's pods now, rather than when the cluster's collector comes by."""
        pods = self._pods_of(key)
        if not pods:
            return
        # The two reflectors aren't of the same moment: ask before believing that it is gone.
        found = await find(self._cluster, JUPYTER_KERNELS, key)
        alive = None if found is None or is_deleting(found) else uid_of(found)
        for pod in pods:
            if controller_uid(pod, JUPYTER_KERNELS.kind) != alive:
                await delete(self._cluster, PODS, pod)

    def _pods_of(self, key: Key) -> list[Object]:
        return self._pods.store.by_index(BY_KERNEL, str(key))

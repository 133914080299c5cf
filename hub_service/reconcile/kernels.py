"""JupyterKernel → admission → pod → status → cull.

What survives a restart of the service is in the cluster: a kernel was admitted if its pod is there,
or if its status says so. The pod is made first; one write of the status then says both, so that a
start costs two writes. A service that was stopped in between finds the pod when it is back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hub_service import (
    conditions,
    culling,
    kernel,
    kernel_events,
    liveness,
    podstate,
    quota,
    timestamps,
)
from hub_service.activity import Active, Sealed, Unknown
from hub_service.kinds import (
    ADMITTED,
    IDLE,
    JUPYTER_KERNELS,
    PODS,
    RUNNING,
    Object,
    Phase,
    Reason,
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
from hub_service.reconcile.calls import REFUSALS, delete, find, patch_status_if_there
from hub_service.reconcile.indexes import BY_GATEWAY
from hub_service.reconcile.recorder import Recorder
from hub_service.reconcile.seals import Seals
from hub_service.reconcile.starts import Starts
from hub_service.starts.judge import judge_refusal

log = logging.getLogger(__name__)

BY_OWNER = "owner"
BY_KERNEL = "kernel"

# Seconds until a gateway that could not say is asked again.
_ASK_AGAIN = 10.0


@dataclass
class _Admission:
    """A kernel that was admitted, while its status doesn't show it yet.

    status: what is to be written about it; has_pod: whether the incarnation's pod was made.
    """

    uid: str
    status: Object
    has_pod: bool


# Where the pods of the gateway of that name and namespace are reached.
GatewayUrls = Callable[[str, str], Sequence[str]]


class _GoneError(Exception):
    """The kernel was deleted while it was being worked on."""


@dataclass(frozen=True)
class Rules:
    """What the administrator set: kernels a user may have, seconds of idleness (≤ 0: never), and
    what is done about lost hearts.
    """

    kernels_per_user: int
    idle_timeout: int
    liveness: liveness.Rule


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


def is_urgent(kernels: Reflector, pods: Reflector, key: Key) -> bool:
    """Whether somebody waits for what is to be done: a kernel's end, or the pod of a start.

    In a burst of starts all pods are made before most of them are reported on.
    """
    item = kernels.store.get(key)
    if item is None or is_deleting(item):
        return True
    return not kernel.is_decided(item) and own_pod(pods, item) is None


def own_pod(pods: Reflector, item: Object) -> Object | None:
    """The pod of a kernel's wanted incarnation, as far as the watch has it."""
    pod = pods.store.get((namespace_of(item), kernel.pod_of_incarnation(item)))
    same = pod is not None and controller_uid(pod, JUPYTER_KERNELS.kind) == uid_of(item)
    return pod if same else None


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
        starts: Starts,
        recorder: Recorder,
        is_overdue: Callable[[Object], bool] = lambda _: False,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        gateway_urls: GatewayUrls,
        covers: Callable[[str], bool] = lambda _namespace: True,
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods
        self._gateways = gateways
        self._rules = rules
        self._seals = seals
        self._starts = starts
        self._recorder = recorder
        self._is_overdue = is_overdue
        self._now = clock
        self._gateway_urls = gateway_urls
        self._covers = covers
        self._admissions: dict[Key, _Admission] = {}

    def kernels_of_gateway(self, key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which kernels a gateway's change concerns: all of its own, if its spec changed."""
        if old and new and spec_of(old) == spec_of(new):
            return ()
        return [key_of(item) for item in self._kernels.store.by_index(BY_GATEWAY, str(key))]

    async def reconcile(self, key: Key) -> float | None:
        """Bring one kernel's pod and status to what they ought to be."""
        item = self._kernels.store.get(key)
        if item is None or is_deleting(item):
            self._admissions.pop(key, None)
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
        if kernel.is_decided(item):
            self._admissions.pop(key, None)
        else:
            item = await self._admit(key, item)
        if status_of(item).get("phase") == Phase.CULLED:
            await self._end(item)
            return None
        look_again = None
        if kernel.is_admitted(item):
            started = await self._run(key, item)
            if started is None:
                return 0.0
            item, look_again = started
            item = await self._give_up_lost(key, item)
        if kernel.is_finished(item):
            await (self._end(item) if self._is_overdue(item) else self._release(item))
            return None
        return _sooner(look_again, self._cull(key, item, answer))

    async def _give_up_lost(self, key: Key, item: Object) -> Object:
        """The kernel as failed, where it does not answer and restarts are no help.

        Restarts have a controller of their own, which brings the key back here when they are over.
        """
        verdict = liveness.decide(item, self._rules.liveness, self._now())
        if not isinstance(verdict, liveness.GiveUp):
            return item
        log.info("kernel %s: %s", key, verdict.message)
        status = kernel.status_of_lost_heart(item, verdict.message, self._now())
        return await self._write(item, status)

    async def _admit(self, key: Key, item: Object) -> Object:
        """The kernel as it was refused, or with the status that its admission gives it.

        The latter is written with the first report on its pod, and remembered until then.
        """
        admission = self._admissions.get(key)
        if (
            admission is None
            or admission.uid != uid_of(item)
            or admission.status["incarnation"] != kernel.incarnation(item)
        ):
            # No await between looking at the other kernels and remembering the decision.
            decision = self._decide(item)
            log.info(
                "kernel %s: %s", key, decision.message if decision.admitted else "over the quota"
            )
            status = kernel.status_of_admission(
                item,
                admitted=decision.admitted,
                reason=decision.reason,
                message=decision.message,
                now=self._now(),
            )
            if not decision.admitted:
                self._admissions.pop(key, None)
                return await self._write(item, status)
            admission = _Admission(uid_of(item), status, own_pod(self._pods, item) is not None)
            self._admissions[key] = admission
        present = {**status_of(item), **admission.status}
        return {**item, "status": {k: v for k, v in present.items() if v is not None}}

    def _decide(self, item: Object) -> quota.Decision:
        if kernel.is_admitted(item):
            # A new incarnation of a kernel that holds its place keeps it.
            entry = condition(item, ADMITTED) or {}
            return quota.Decision(True, entry.get("reason", ""), entry.get("message", ""))
        if self._holds_place(item):
            return quota.Decision(True, Reason.WITHIN_QUOTA, "The kernel was admitted before.")
        others = self._kernels_of_owner(item)
        return quota.decide(
            item,
            others,
            limit=self._rules.kernels_per_user,
            assumed={uid_of(other) for other in others if self._holds_place(other)},
            now=self._now(),
        )

    def _holds_place(self, item: Object) -> bool:
        """Whether a kernel was admitted though its status doesn't show it."""
        admission = self._admissions.get(key_of(item))
        if admission is not None and admission.uid == uid_of(item):
            return True
        return not kernel.is_decided(item) and own_pod(self._pods, item) is not None

    async def _run(self, key: Key, item: Object) -> tuple[Object, float | None] | None:
        """Report the state of the incarnation's pod; make it first if it was never made.

        The kernel as it is then, and the seconds until its start is to be looked at again.
        None: it was made just now, and the report has a turn of its own, as that is less urgent.
        """
        namespace, name = namespace_of(item), kernel.pod_of_incarnation(item)
        admission = self._admissions.get(key)
        pod = own_pod(self._pods, item)
        if pod is None:
            try:
                if status_of(item).get("podName") == name or (admission and admission.has_pod):
                    pod = await self._find_pod(item, namespace, name)
                else:
                    pod = await self._make_pod(item, namespace, name)
                    if admission is not None:
                        admission.has_pod = True
                        return None
            except ApiError as error:
                return await self._without_pod(item, error)
        now, verdict = self._now(), None
        state = podstate.observe(pod)
        if pod is not None and state.phase in (Phase.PENDING, Phase.STARTING):
            verdict = await self._starts.judge(pod, now)
        written = await self._write(item, kernel.status_of_pod(item, pod, now, verdict))
        return written, _until(verdict.again if verdict else None, now)

    async def _without_pod(self, item: Object, error: ApiError) -> tuple[Object, float | None]:
        """Say that the pod could not be made. Raises the error where it may be tried at once."""
        now = self._now()
        verdict = judge_refusal(
            error.message,
            refused=error.status in REFUSALS,
            since=kernel.making_since(item, now),
            times=self._starts.times,
            now=now,
        )
        if (condition(item, RUNNING) or {}).get("reason") != verdict.state.reason:
            log.warning("kernel %s: its pod was not made: %s", key_of(item), error)
        written = await self._write(item, kernel.status_without_pod(item, verdict, now))
        if verdict.state.phase != Phase.FAILED and error.status not in REFUSALS:
            raise error
        return written, _until(verdict.again, now)

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
        urls = self._gateway_urls(name, namespace)
        if not urls:
            log.warning("kernel %s: not culled: no pod of its gateway runs", key)
            return _ASK_AGAIN
        self._seals.ask(key, urls, spec_of(item)["kernelID"], verdict.idle_before)
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
        """Write what differs, and what the status doesn't show yet; the kernel as it is then."""
        patch = conditions.patch(status_of(item), status)
        admission = self._admissions.get(key_of(item))
        if admission is not None and admission.uid == uid_of(item):
            patch = {**admission.status, **patch}
        if not patch:
            return item
        patch["lastReconcileTime"] = timestamps.seconds(self._now())
        written = await patch_status_if_there(
            self._cluster, JUPYTER_KERNELS, self._kernels, key_of(item), patch
        )
        if written is None:
            raise _GoneError
        self._recorder.record(kernel_events.of_change(item, written, self._now()))
        return written

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


def _until(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max((moment - now).total_seconds(), 0.5)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)

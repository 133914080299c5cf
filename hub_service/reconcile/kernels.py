"""JupyterKernel → admission → pod → status → cull.

What survives a restart of the service is in the cluster: a kernel was admitted if its pod is there,
or if its status says so. The pod is made first; one write of the status then says both, so that a
start costs two writes. A service that was stopped in between finds the pod when it is back.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime

from hub_service import conditions, culling, timestamps
from hub_service.gateways.activity import Sealed
from hub_service.kernels import kernel, kernel_events, kernel_status, liveness, podstate
from hub_service.kinds import (
    JUPYTER_KERNELS,
    RUNNING,
    Object,
    Phase,
    condition,
    is_deleting,
    spec_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.reconcile.admissions import Admissions
from hub_service.reconcile.calls import REFUSALS, delete, patch_status_if_there
from hub_service.reconcile.culling import Culling
from hub_service.reconcile.indexes import BY_GATEWAY
from hub_service.reconcile.kernel_pods import KernelPods, UnrunnableError, own_pod
from hub_service.reconcile.recorder import Recorder
from hub_service.reconcile.seals import Seals
from hub_service.reconcile.starts import Starts
from hub_service.starts.judge import judge_refusal

log = logging.getLogger(__name__)


class _GoneError(Exception):
    """The kernel was deleted while it was being worked on."""


def is_urgent(kernels: Reflector, pods: Reflector, key: Key) -> bool:
    """Whether somebody waits for what is to be done: a kernel's end, or the pod of a start.

    In a burst of starts all pods are made before most of them are reported on.
    """
    item = kernels.store.get(key)
    if item is None or is_deleting(item):
        return True
    return not kernel.is_decided(item) and own_pod(pods, item) is None


def unless_put_off(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A kernel's change concerns itself, but for reports of its activity that only put off its end.

    Thousands of kernels at work make hundreds of them a second.
    """
    return () if old and new and culling.only_puts_off(old, new) else (key,)


class KernelReconciler:
    """`reconcile` for a Controller that follows kernels, their pods and Events, and gateways.

    `kernels` needs the index BY_GATEWAY.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        pods: KernelPods,
        admissions: Admissions,
        starts: Starts,
        liveness_rule: liveness.Rule,
        heart_lost_since: Callable[[Object], datetime | None],
        culling: Culling,
        seals: Seals,
        recorder: Recorder,
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods
        self._admissions = admissions
        self._starts = starts
        self._liveness_rule = liveness_rule
        self._heart_lost_since = heart_lost_since
        self._culling = culling
        self._seals = seals
        self._recorder = recorder

    def kernels_of_gateway(self, key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which kernels a gateway's change concerns: all of its own, if its spec changed."""
        if old and new and spec_of(old) == spec_of(new):
            return ()
        return [key_of(item) for item in self._kernels.store.by_index(BY_GATEWAY, str(key))]

    async def reconcile(self, key: Key) -> float | None:
        """Bring one kernel's pod and status to what they ought to be."""
        item = self._kernels.store.get(key)
        if item is None or is_deleting(item):
            self._admissions.forget(key)
            self._seals.drop(key)
            self._culling.drop(key)
            await self._pods.remove_of_gone(key)
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
            await self._end_idle(key, item, answer)
            return None
        await self._pods.remove_others(item)
        look_again = None
        if kernel.is_decided(item):
            self._admissions.forget(key)
        else:
            item, look_again = await self._admit(item)
        if status_of(item).get("phase") == Phase.CULLED:
            await self._end(item)
            return None
        if kernel.is_admitted(item):
            started = await self._run(item)
            if started is None:
                return 0.0
            item, look_again = started
            item = await self._give_up_lost(key, item)
        if kernel.is_finished(item):
            await (self._end(item) if self._culling.is_overdue(item) else self._pods.release(item))
            return None
        look = self._culling.look(key, item, answer)
        if look.noted is not None:
            await self._write(item, {"culling": look.noted})
        return _sooner(look_again, look.again)

    async def _give_up_lost(self, key: Key, item: Object) -> Object:
        """The kernel as failed, where it does not answer and restarts are no help.

        Restarts have a controller of their own, which brings the key back here when they are over.
        """
        since = self._heart_lost_since(item)
        verdict = liveness.decide(item, since, self._liveness_rule, timestamps.now())
        if not isinstance(verdict, liveness.GiveUp):
            return item
        log.info("kernel %s: %s", key, verdict.message)
        status = kernel_status.of_lost_heart(item, verdict.message, timestamps.now())
        return await self._write(item, status)

    async def _admit(self, item: Object) -> tuple[Object, float | None]:
        """The kernel as it was refused, or waits, or with the status that its admission gives it.

        The latter is written with the first report on its pod. With it come the seconds until one
        that waits is to be looked at again.
        """
        decided = await self._admissions.decide(item)
        if not decided.admitted:
            return await self._write(item, decided.status), decided.again
        present = {**status_of(item), **decided.status}
        return {**item, "status": {k: v for k, v in present.items() if v is not None}}, None

    async def _run(self, item: Object) -> tuple[Object, float | None] | None:
        """Report the state of the incarnation's pod; make it first if it was never made.

        The kernel as it is then, and the seconds until its start is to be looked at again.
        None: it was made just now, and the report has a turn of its own, as that is less urgent.
        """
        admission = self._admissions.of(item)
        pod = self._pods.own(item)
        if pod is None:
            try:
                was_made = bool(status_of(item).get("podName"))  # of this incarnation: decided
                if was_made or (admission and admission.has_pod):
                    pod = await self._pods.find(item)
                else:
                    pod = await self._pods.make(item)
                    if admission is not None:
                        admission.has_pod = True
                        return None
            except UnrunnableError as error:
                log.info("kernel %s: no pod is made: %s", key_of(item), error)
                status = kernel_status.of_fault(item, error.fault, timestamps.now())
                return await self._write(item, status), None
            except ApiError as error:
                return await self._without_pod(item, error)
        now, verdict = timestamps.now(), None
        state = podstate.observe(pod)
        if pod is not None and state.phase in (Phase.PENDING, Phase.STARTING):
            verdict = await self._starts.judge(pod, now)
        if status := kernel_status.of_pod(item, pod, now, verdict):
            status |= self._culling.rules(item)
        written = await self._write(item, status)
        return written, _until(verdict.again if verdict else None, now)

    async def _without_pod(self, item: Object, error: ApiError) -> tuple[Object, float | None]:
        """Say that the pod could not be made. Raises the error where it may be tried at once."""
        now = timestamps.now()
        verdict = judge_refusal(
            error.message,
            refused=error.status in REFUSALS,
            since=kernel_status.making_since(item, now),
            times=self._starts.times,
            now=now,
        )
        if (condition(item, RUNNING) or {}).get("reason") != verdict.state.reason:
            log.warning("kernel %s: its pod was not made: %s", key_of(item), error)
        written = await self._write(item, kernel_status.without_pod(item, verdict, now))
        if verdict.state.phase != Phase.FAILED and error.status not in REFUSALS:
            raise error
        return written, _until(verdict.again, now)

    async def _end_idle(self, key: Key, item: Object, answer: Sealed) -> None:
        why = self._culling.sealed(key)
        message = f"{why.message} {answer.saved}" if answer.saved else why.message
        log.info("kernel %s: culled: %s", key, why.message)
        status = kernel_status.of_cull(item, why.reason, message, timestamps.now())
        try:
            await self._write(item, status)
            await self._end(item)
        except ApiError:
            # Its process has ended: without the answer it would look as if it had done so itself.
            self._seals.put_back(key, answer)
            raise

    async def _write(self, item: Object, status: Object) -> Object:
        """Write what differs, and what the status doesn't show yet; the kernel as it is then."""
        patch = conditions.patch(status_of(item), status)
        if admission := self._admissions.of(item):
            patch = {**admission.status, **patch}
        if not patch:
            return item
        patch["lastReconcileTime"] = timestamps.seconds(timestamps.now())
        written = await patch_status_if_there(
            self._cluster, JUPYTER_KERNELS, self._kernels, key_of(item), patch
        )
        if written is None:
            raise _GoneError
        self._recorder.record(kernel_events.of_change(item, written, timestamps.now()))
        return written

    async def _end(self, item: Object) -> None:
        """Delete a kernel and its pods."""
        await self._pods.remove(key_of(item))
        await delete(self._cluster, JUPYTER_KERNELS, item)


def _until(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else max((moment - now).total_seconds(), 0.5)


def _sooner(one: float | None, other: float | None) -> float | None:
    return min((seconds for seconds in (one, other) if seconds is not None), default=None)

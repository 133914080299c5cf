"""Admission of kernels: decided on the copies, remembered until their status shows it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from hub_service import timestamps
from hub_service.hub.groups import Groups
from hub_service.hub.known_groups import KnownGroups
from hub_service.kernels import kernel, kernel_status
from hub_service.kinds import (
    ADMITTED,
    RUNNING,
    Object,
    Phase,
    Reason,
    condition,
    is_deleting,
    namespace_of,
    spec_of,
    uid_of,
)
from hub_service.kube import Key, Reflector, key_of
from hub_service.pods.podsecurity import RESTRICTED, Policy
from hub_service.quotas import limits, quota
from hub_service.reconcile.kernel_pods import own_pod
from hub_service.reconcile.visibility import Visibility
from hub_service.starts.judge import Times, judge_admission

log = logging.getLogger(__name__)

BY_OWNER = "owner"

_NO_GROUPS = (
    "The hub has not said yet who is in which group, so it isn't known how many kernels its user "
    "may have; it is asked again."
)
# Seconds until it is looked again. Ends of kernels are noticed at once; a higher limit is not.
_GROUPS_AGAIN = 1.0
_ROOM_AGAIN = 10.0


def owner_of(item: Object) -> str | None:
    """Index of JupyterKernels by owner."""
    owner = spec_of(item).get("owner")
    return None if owner is None else str(owner)


@dataclass
class Admission:
    """A kernel that was admitted, while its status doesn't show it yet.

    status: what is to be written about it; has_pod: whether the incarnation's pod was made.
    """

    uid: str
    status: Object
    has_pod: bool


class Decided(NamedTuple):
    """What came of a kernel's admission; `again`: seconds until it is to be looked at once more.

    status: what it gives the kernel. It is there to be written along with the first report on the
    pod, where the kernel was admitted, and at once otherwise.
    """

    admitted: bool
    status: Object
    again: float | None = None


class Admissions:
    """`kernels` needs the index BY_OWNER, `pods` BY_KERNEL. `covers`: whether a namespace is looked
    after.

    `policy`: the administrator's limits; `rules`: what becomes of starts over a limit; `times`:
    how long they may wait. `security`: what templates may ask for; `visibility`: whose specs are
    whose, None where they are everybody's.
    """

    def __init__(
        self,
        *,
        kernels: Reflector,
        pods: Reflector,
        groups: KnownGroups,
        policy: limits.Policy,
        rules: quota.Rules,
        times: Times,
        covers: Callable[[str], bool],
        security: Policy = RESTRICTED,
        visibility: Visibility | None = None,
    ) -> None:
        self._kernels = kernels
        self._pods = pods
        self._groups = groups
        self._policy = policy
        self._rules = rules
        self._times = times
        self._covers = covers
        self._security = security
        self._visibility = visibility
        self._remembered: dict[Key, Admission] = {}

    def of(self, item: Object) -> Admission | None:
        """The kernel's admission, while its status may not show it."""
        admission = self._remembered.get(key_of(item))
        return admission if admission is not None and admission.uid == uid_of(item) else None

    def forget(self, key: Key) -> None:
        """The kernel's status shows what was decided, or the kernel is gone."""
        self._remembered.pop(key, None)

    def kernels_that_wait(self, _key: Key, old: Object | None, new: Object | None) -> list[Key]:
        """Which other kernels a kernel's change concerns: those that may come in now."""
        item = new or old
        if item is None or not quota.makes_room(old, new):
            return []
        return [
            key_of(other)
            for other in self._kernels_of_owner(item)
            if not kernel.is_decided(other) and not is_deleting(other)
        ]

    async def decide(self, item: Object) -> Decided:
        """Whether a kernel is admitted, and the status that this gives it.

        An admission is remembered, without anything else being decided in between.
        """
        admission = self.of(item)
        if admission and admission.status["incarnation"] == kernel.incarnation(item):
            return Decided(True, admission.status)
        if objection := kernel.refusal_of_template(item, self._security):
            self.forget(key_of(item))
            log.warning("kernel %s: its template is refused: %s", key_of(item), objection)
            status = kernel_status.of_refused_template(item, objection, timestamps.now())
            return Decided(False, status)
        groups: Groups | None = Groups()
        if owner_of(item) is not None and self._kept(item) is None:
            groups = await self._groups.recent()
        # From here on nothing is awaited.
        if groups is None:
            return self._waits(item, Reason.GROUPS_UNKNOWN, _NO_GROUPS, again=_GROUPS_AGAIN)
        decision = self._kept(item) or self._decide(item, groups)
        if decision.verdict == quota.WAIT:
            return self._waits(
                item, decision.reason, decision.message, again=_ROOM_AGAIN, before=decision.before
            )
        return self._settled(item, decision)

    def _settled(self, item: Object, decision: quota.Decision) -> Decided:
        key = key_of(item)
        log.info("kernel %s: %s", key, decision.message if decision.admitted else "over the quota")
        status = kernel_status.of_admission(
            item,
            admitted=decision.admitted,
            reason=decision.reason,
            message=decision.message,
            now=timestamps.now(),
        )
        if decision.admitted:
            has_pod = own_pod(self._pods, item) is not None
            self._remembered[key] = Admission(uid_of(item), status, has_pod)
        else:
            self.forget(key)
        return Decided(decision.admitted, status)

    def _waits(
        self, item: Object, reason: str, message: str, *, again: float, before: int | None = None
    ) -> Decided:
        now = timestamps.now()
        verdict = judge_admission(
            reason,
            message,
            since=kernel_status.waiting_since(item, now),
            times=self._times,
            now=now,
            before=before,
        )
        if verdict.state.phase == Phase.FAILED:
            late = quota.Decision(quota.REFUSE, verdict.state.reason, verdict.state.message)
            return self._settled(item, late)
        if (condition(item, RUNNING) or {}).get("reason") != reason:
            log.info("kernel %s: waits to be admitted: %s", key_of(item), reason)
        return Decided(False, kernel_status.of_wait(item, verdict, now), again)

    def _kept(self, item: Object) -> quota.Decision | None:
        """The admission of a kernel that holds its place already."""
        if kernel.is_admitted(item):
            # A new incarnation keeps it.
            entry = condition(item, ADMITTED) or {}
            return quota.Decision(quota.ADMIT, entry.get("reason", ""), entry.get("message", ""))
        if self._holds_place(item):
            words = "The kernel was admitted before."
            return quota.Decision(quota.ADMIT, Reason.WITHIN_QUOTA, words)
        return None

    def _decide(self, item: Object, groups: Groups) -> quota.Decision:
        owner = owner_of(item) or ""
        if sentence := self._not_offered(item, groups):
            return quota.Decision(quota.REFUSE, Reason.KERNEL_SPEC_NOT_OFFERED, sentence)
        others = [
            other
            for other in self._kernels_of_owner(item)
            # Undecided ones of which this is known already take nobody's place.
            if kernel.is_decided(other)
            or not (
                kernel.refusal_of_template(other, self._security)
                or self._not_offered(other, groups)
            )
        ]
        return quota.decide(
            item,
            others,
            limits=limits.of_user(owner, groups.of(owner), self._policy),
            rules=self._rules,
            assumed={uid_of(other) for other in others if self._holds_place(other)},
            now=timestamps.now(),
        )

    def _not_offered(self, item: Object, groups: Groups) -> str | None:
        if self._visibility is None:
            return None
        return self._visibility.refusal(item, groups.names_of(owner_of(item) or ""))

    def _holds_place(self, item: Object) -> bool:
        """Whether a kernel was admitted though its status doesn't show it."""
        if self.of(item) is not None:
            return True
        return not kernel.is_decided(item) and own_pod(self._pods, item) is not None

    def _kernels_of_owner(self, item: Object) -> list[Object]:
        """In all namespaces: a user's kernels count together wherever they are."""
        every = self._kernels.store.by_index(BY_OWNER, owner_of(item) or "")
        return [other for other in every if self._covers(namespace_of(other))]

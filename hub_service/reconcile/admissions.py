"""Admission of kernels: decided on the copies, remembered until their status shows it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

from hub_service import kernel, quota, timestamps
from hub_service.kinds import (
    ADMITTED,
    Object,
    Reason,
    condition,
    namespace_of,
    spec_of,
    uid_of,
)
from hub_service.kube import Key, Reflector, key_of
from hub_service.podsecurity import RESTRICTED, Policy
from hub_service.reconcile.kernel_pods import own_pod

log = logging.getLogger(__name__)

BY_OWNER = "owner"


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


class Admissions:
    """`kernels` needs the index BY_OWNER. `covers`: whether a namespace is looked after.

    `security`: what templates may ask for.
    """

    def __init__(
        self,
        *,
        kernels: Reflector,
        pods: Reflector,
        kernels_per_user: int,
        covers: Callable[[str], bool],
        security: Policy = RESTRICTED,
    ) -> None:
        self._kernels = kernels
        self._pods = pods
        self._kernels_per_user = kernels_per_user
        self._covers = covers
        self._security = security
        self._remembered: dict[Key, Admission] = {}

    def of(self, item: Object) -> Admission | None:
        """The kernel's admission, while its status may not show it."""
        admission = self._remembered.get(key_of(item))
        return admission if admission is not None and admission.uid == uid_of(item) else None

    def forget(self, key: Key) -> None:
        """The kernel's status shows what was decided, or the kernel is gone."""
        self._remembered.pop(key, None)

    def decide(self, item: Object) -> tuple[bool, Object]:
        """Whether a kernel is admitted, and the status that this gives it.

        An admission is remembered, without anything else being decided in between.
        """
        admission = self.of(item)
        if admission and admission.status["incarnation"] == kernel.incarnation(item):
            return True, admission.status
        if objection := kernel.refusal_of_template(item, self._security):
            self.forget(key_of(item))
            log.warning("kernel %s: its template is refused: %s", key_of(item), objection)
            return False, kernel.status_of_refused_template(item, objection, timestamps.now())
        key, decision = key_of(item), self._decide(item)
        log.info("kernel %s: %s", key, decision.message if decision.admitted else "over the quota")
        status = kernel.status_of_admission(
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
        return decision.admitted, status

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
            limit=self._kernels_per_user,
            assumed={uid_of(other) for other in others if self._holds_place(other)},
            now=timestamps.now(),
        )

    def _holds_place(self, item: Object) -> bool:
        """Whether a kernel was admitted though its status doesn't show it."""
        if self.of(item) is not None:
            return True
        return not kernel.is_decided(item) and own_pod(self._pods, item) is not None

    def _kernels_of_owner(self, item: Object) -> list[Object]:
        """In all namespaces: a user's kernels count together wherever they are."""
        every = self._kernels.store.by_index(BY_OWNER, owner_of(item) or "")
        return [other for other in every if self._covers(namespace_of(other))]

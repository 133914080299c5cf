"""Asks gateways about kernels whose idle time is over.

What ends a kernel is its gateway's answer (seals.py), which brings the kernel back to its own
reconciliation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

from hub_service import culling, timestamps
from hub_service.activity import Active, Unknown
from hub_service.kinds import IDLE, Object, gateway_reference, spec_of
from hub_service.kube import Key, Reflector
from hub_service.reconcile.seals import Seals

log = logging.getLogger(__name__)

# Seconds until a gateway that could not say is asked again.
_ASK_AGAIN = 10.0

# Where the pods of the gateway of that name and namespace are reached.
GatewayUrls = Callable[[str, str], Sequence[str]]


class Culling:
    """`idle_timeout`: seconds, where neither kernel nor gateway says; ≤ 0: never.

    `is_overdue`: whether a kernel's server is gone for too long. `covers`: whether a namespace is
    looked after.
    """

    def __init__(
        self,
        *,
        gateways: Reflector,
        gateway_urls: GatewayUrls,
        covers: Callable[[str], bool],
        seals: Seals,
        idle_timeout: int,
        is_overdue: Callable[[Object], bool],
    ) -> None:
        self._gateways = gateways
        self._gateway_urls = gateway_urls
        self._covers = covers
        self._seals = seals
        self._idle_timeout = idle_timeout
        self.is_overdue = is_overdue

    def look(self, key: Key, item: Object, answer: Active | Unknown | None) -> float | None:
        """Ask the gateway when the kernel's time is over; seconds until the next look."""
        if isinstance(answer, Unknown):
            log.warning("kernel %s: not culled: %s", key, answer.why)
            return _ASK_AGAIN
        now, rule = timestamps.now(), self._policy(item)
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

    def explain(self, item: Object) -> str:
        """Why a kernel is culled, for its status."""
        rule = self._policy(item)
        return f"The kernel was idle for {rule.seconds} s or more, which is {rule.source}."

    def _policy(self, item: Object) -> culling.Policy:
        if self.is_overdue(item):
            return culling.LOST_SERVER
        reference = gateway_reference(item)
        found = self._gateways.store.get(reference) if reference else None
        return culling.policy(item, found, self._idle_timeout)

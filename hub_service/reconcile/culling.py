"""Asks gateways about kernels whose time is over.

What ends a kernel is its gateway's answer (seals.py), which brings the kernel back to its own
reconciliation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from hub_service import culling, timestamps
from hub_service.activity import Active, Unknown
from hub_service.culling import Confirm, Demand, Keep, Verdict, Warn
from hub_service.culling import activity as activities
from hub_service.culling import policy as policies
from hub_service.kinds import IDLE, Object, gateway_reference, spec_of
from hub_service.kube import Key, Reflector
from hub_service.reconcile.policies import Policies
from hub_service.reconcile.seals import Seals

log = logging.getLogger(__name__)

# Seconds until a gateway that could not say is asked again.
_ASK_AGAIN = 10.0

# Where the pods of the gateway of that name and namespace are reached.
GatewayUrls = Callable[[str, str], Sequence[str]]
# Who waits for what a kernel holds, if it was chosen for somebody.
Demands = Callable[[Key], Demand | None]


class Culling:
    """`is_overdue`: whether a kernel's server is gone for too long. `covers`: whether a namespace
    is looked after.
    """

    def __init__(
        self,
        *,
        gateways: Reflector,
        gateway_urls: GatewayUrls,
        covers: Callable[[str], bool],
        seals: Seals,
        policies: Policies,
        is_overdue: Callable[[Object], bool],
        demands: Demands = lambda _: None,
    ) -> None:
        self._gateways = gateways
        self._gateway_urls = gateway_urls
        self._covers = covers
        self._seals = seals
        self._policies = policies
        self._demands = demands
        self._asked: dict[Key, Confirm] = {}
        self.is_overdue = is_overdue

    def look(self, key: Key, item: Object, answer: Active | Unknown | None) -> float | None:
        """Ask the gateway when the kernel's time is over; seconds until the next look."""
        self._asked.pop(key, None)
        if isinstance(answer, Unknown):
            log.warning("kernel %s: not culled: %s", key, answer.why)
            return _ASK_AGAIN
        now = timestamps.now()
        if answer is not None:
            # Its report is on the way; until it arrives the gateway's word is the newest.
            if answer.execution_state != IDLE or answer.last_activity is None:
                return _ASK_AGAIN
            verdict = self._decide(key, item, now, idle_since=answer.last_activity)
            return 0.5 if isinstance(verdict, Confirm) else _seconds(verdict.until, now)
        verdict = self._decide(key, item, now)
        if isinstance(verdict, Keep | Warn):
            return _seconds(verdict.until, now)
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
        self._asked[key] = verdict
        self._seals.ask(key, urls, spec_of(item)["kernelID"], verdict.idle_before)
        return None

    def sealed(self, key: Key) -> Confirm:
        """What a kernel was sealed for."""
        return self._asked.pop(key)

    def drop(self, key: Key) -> None:
        """The kernel is gone."""
        self._asked.pop(key, None)

    def _decide(
        self, key: Key, item: Object, now: datetime, *, idle_since: datetime | None = None
    ) -> Verdict:
        policy = self._policies.of(item)
        if policy is None:
            return Keep(None, "which rules apply is not known yet")
        if self.is_overdue(item):
            policy = policies.of_lost_server(policy)
        activity = activities.of(item)
        if idle_since is not None:
            activity = culling.Activity(idle_since, "", activity.connections, activity.left)
        return culling.decide(item, activity, policy, self._demands(key), now)


def _seconds(until: datetime | None, now: datetime) -> float | None:
    return None if until is None else max((until - now).total_seconds(), 0.0)

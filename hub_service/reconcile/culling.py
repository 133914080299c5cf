"""Asks gateways about kernels whose time is over.

What ends a kernel is its gateway's answer (seals.py), which brings the kernel back to its own
reconciliation.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import NamedTuple

from hub_service import culling, timestamps
from hub_service.culling import Confirm, Demand, Observed, Policy, notes, record
from hub_service.culling import activity as activities
from hub_service.culling import policy as policies
from hub_service.gateways.activity import Active, GatewayClient, Unknown, Why
from hub_service.kernels import saving
from hub_service.kinds import IDLE, Object, gateway_reference, spec_of
from hub_service.kube import Key, Reflector
from hub_service.reconcile.policies import Policies
from hub_service.reconcile.seals import Seals

log = logging.getLogger(__name__)

# Seconds until a gateway that could not say is asked again.
_ASK_AGAIN = 10.0
# Seconds until one that has said that the kernel is at work is asked again, unless a report of that
# arrives; and one that has said since when it is idle.
_ASK_SOON = 1.0
_ASK_AT_ONCE = 0.2

# Where the pods of the gateway of that name and namespace are reached.
GatewayUrls = Callable[[str, str], Sequence[str]]
# Who waits for what a kernel holds, if it was chosen for somebody.
Demands = Callable[[Key], Demand | None]


class Look(NamedTuple):
    """What comes of a look at a kernel.

    again: seconds until the next; None: when something changes. noted: what its `status.culling`
    ought to be; None: as it is.
    """

    again: float | None
    noted: Object | None = None


class Culling:
    """`client`: asks gateways. `is_overdue`: whether a kernel's server is gone for too long.

    `covers`: whether a namespace is looked after. `demands`: who waits for what a kernel holds.
    `unsure` is told of kernels whose gateway can't be asked, or can't say. `observed` knows more of
    what a kernel does. `current`: a kernel as it is now.
    """

    def __init__(
        self,
        *,
        gateways: Reflector,
        gateway_urls: GatewayUrls,
        covers: Callable[[str], bool],
        seals: Seals,
        client: GatewayClient,
        policies: Policies,
        is_overdue: Callable[[Object], bool],
        demands: Demands = lambda _: None,
        unsure: Callable[[Key], None] = lambda _: None,
        observed: Observed = lambda _, activity: activity,
        current: Callable[[Key], Object | None] = lambda _: None,
    ) -> None:
        self._gateways = gateways
        self._gateway_urls = gateway_urls
        self._covers = covers
        self._seals = seals
        self._client = client
        self._policies = policies
        self._demands = demands
        self._unsure = unsure
        self._observed = observed
        self._current = current
        self._asked: dict[Key, Confirm] = {}
        # Since when a gateway has said that a kernel is idle, while its report is on the way.
        self._told: dict[Key, datetime] = {}
        self.is_overdue = is_overdue

    def look(self, key: Key, item: Object, answer: Active | Unknown | None) -> Look:
        """Decide on a kernel, and ask its gateway when its time is over."""
        self._asked.pop(key, None)
        policy = self._policy(item)
        if policy is None:
            return Look(_ASK_AGAIN)
        if isinstance(answer, Unknown):
            log.warning("kernel %s: not culled: %s", key, answer.why)
            self._unsure(key)
            return Look(_ASK_AGAIN)
        now, activity = timestamps.now(), activities.of(item)
        if answer is not None:
            if answer.execution_state != IDLE or answer.last_activity is None:
                return Look(_ASK_SOON)
            self._told[key] = answer.last_activity
        if (told := self._told.get(key)) is not None:
            # Until the report arrives the gateway's word is the newest.
            if activity.idle_since is None or activity.idle_since >= told:
                del self._told[key]
            else:
                activity = replace(activity, idle_since=told)
        activity = self._observed(item, activity)
        verdict = culling.decide(item, activity, policy, self._demands(key), now)
        noted = notes.wanted(item, activity, policy, verdict, now)
        if not isinstance(verdict, Confirm):
            return Look(_seconds(verdict.until, now), noted)
        if answer is not None:
            return Look(_ASK_AT_ONCE)
        again = self._ask(key, item, verdict)
        if key not in self._asked:
            self._unsure(key)
        return Look(again, noted)

    def rules(self, item: Object) -> Object:
        """The part of a kernel's status that says which rules apply; empty while unknown."""
        policy = self._policy(item)
        return {} if policy is None else {"culling": notes.with_rules(item, policy)}

    def _ask(self, key: Key, item: Object, verdict: Confirm) -> float | None:
        """Ask a kernel's gateway; seconds until the next look where that can't be done now."""
        reference = gateway_reference(item)
        kernel_id = spec_of(item).get("kernelID")
        if reference is None or not kernel_id:
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
        hook = saving.hook(item)
        question = partial(
            self._client.seal,
            urls,
            kernel_id,
            verdict.idle_before,
            why=Why(verdict.reason, verdict.message),
            save_within=hook.timeout if hook else None,
            unless_connected=verdict.unless_connected,
            is_kept=partial(self._is_kept, key),
        )
        self._seals.ask(key, question)
        return None

    def _is_kept(self, key: Key) -> bool:
        """Whether its user keeps a kernel, who may have asked for that a moment ago."""
        item = self._current(key)
        policy = self._policy(item) if item else None
        kept = record.kept_until(item, policy) if item and policy else None
        return kept is not None and kept > timestamps.now()

    def sealed(self, key: Key) -> Confirm:
        """What a kernel was sealed for."""
        return self._asked[key]

    def drop(self, key: Key) -> None:
        """The kernel is gone."""
        self._asked.pop(key, None)
        self._told.pop(key, None)

    def _policy(self, item: Object) -> Policy | None:
        policy = self._policies.of(item)
        return policies.of_lost_server(policy) if policy and self.is_overdue(item) else policy


def _seconds(until: datetime | None, now: datetime) -> float | None:
    return None if until is None else max((until - now).total_seconds(), 0.0)

"""spec.restart of a JupyterKernel, or its lost heart → a new process in its pod → status.restart.

Apart from the kernels' own reconciliation, as interrupts are: a node that does not answer holds up
nothing else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial

from hub_service import timestamps
from hub_service.gateways import replicas
from hub_service.kernels import inplace, liveness, restart
from hub_service.kernels.restart import Deliver, Refuse
from hub_service.kinds import Object, status_of
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.reconcile.indexes import BY_GATEWAY
from hub_service.reconcile.once import Problem, do_once

# Beyond the time that the kernel has to end by itself.
_EXEC_TIMEOUT = 8.0


def kernels_to_restart(key: Key, _old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which kernel a kernel's change concerns: itself, if there may be something to do."""
    if new is None:
        return ()
    return (key,) if restart.asked(new) or liveness.reports(new) else ()


class RestartReconciler:
    """`reconcile` for a Controller that follows kernels and gateways' pods.

    lost_since: when a kernel's heart stopped, if it did, as all that serve it say. give_up: told of
    kernels for which no restart is left.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        pods: Reflector,
        rule: liveness.Rule,
        lost_since: Callable[[Object], datetime | None],
        give_up: Callable[[Key], None],
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods
        self._rule = rule
        self._lost_since = lost_since
        self._give_up = give_up

    def kernels_of_pod(self, _key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which kernels a gateway's pod concerns that serves them from now on, or no longer."""
        pod = new or old
        if pod is None or replicas.serves(old) == replicas.serves(new):
            return ()
        kernels = self._kernels.store.by_index(BY_GATEWAY, replicas.gateway_of_pod(pod))
        return [key_of(kernel) for kernel in kernels if liveness.reports(kernel)]

    async def reconcile(self, key: Key) -> float | None:
        """Restart the kernel if that is asked for or due, at most once for each time, and report.

        Returns the seconds until a restart may be due.
        """
        item = self._kernels.store.get(key)
        if item is None:
            return None
        now = timestamps.now()
        pod = self._pods.store.get((key.namespace, str(status_of(item).get("podName"))))
        since = self._lost_since(item)
        decision = restart.decide(item, pod, since, self._rule, now)
        if decision is None:
            verdict = liveness.decide(item, since, self._rule, now)
            if isinstance(verdict, liveness.GiveUp):
                self._give_up(key)
            until = verdict.until if isinstance(verdict, liveness.Keep) else None
            return None if until is None else max((until - now).total_seconds(), 0.0)
        await do_once(
            self._cluster,
            self._kernels,
            key,
            "restart",
            begun=restart.status_of_begun(decision, item, now),
            act=partial(self._deliver, key, decision),
            outcome=partial(restart.status_of_outcome, decision),
        )
        return None

    async def _deliver(self, key: Key, decision: Deliver | Refuse) -> Problem:
        """Have the process started again."""
        if not isinstance(decision, Deliver):
            return decision.message
        try:
            done = await self._cluster.execute(
                key.namespace,
                decision.pod,
                decision.container,
                inplace.restart_command(decision.grace),
                timeout=decision.grace + _EXEC_TIMEOUT,
            )
        except ApiError as error:
            return f"The restart did not reach the kernel's pod: {error.message}."
        return restart.outcome_of(done.exit_code, done.output)

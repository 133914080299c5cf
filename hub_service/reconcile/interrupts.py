"""spec.interrupt of a JupyterKernel → SIGINT in its container → status.interrupt.

Apart from the kernels' own reconciliation, so that a node that does not answer holds up interrupts
only.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from hub_service import timestamps
from hub_service.kernels import interrupt
from hub_service.kernels.interrupt import Deliver, Refuse
from hub_service.kinds import Object, status_of
from hub_service.kube import ApiError, Cluster, Key, Reflector
from hub_service.reconcile.once import Problem, do_once

_EXEC_TIMEOUT = 5.0


def kernels_to_interrupt(_key: Key, _old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which kernel a kernel's change concerns: itself, if an interrupt is asked for."""
    return () if new is None or interrupt.asked(new) is None else (_key,)


class InterruptReconciler:
    """`reconcile` for a Controller that follows the kernels by `kernels_to_interrupt`."""

    def __init__(self, cluster: Cluster, *, kernels: Reflector, pods: Reflector) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods

    async def reconcile(self, key: Key) -> None:
        """Deliver the interrupt that is asked for, at most once, and report."""
        item = self._kernels.store.get(key)
        if item is None:
            return
        pod = self._pods.store.get((key.namespace, str(status_of(item).get("podName"))))
        decision = interrupt.decide(item, pod, timestamps.now())
        if decision is None:
            return
        await do_once(
            self._cluster,
            self._kernels,
            key,
            "interrupt",
            begun=interrupt.status_of_begun(decision.interrupt_id),
            act=partial(self._deliver, key, decision),
            outcome=partial(interrupt.status_of_outcome, decision.interrupt_id),
        )

    async def _deliver(self, key: Key, decision: Deliver | Refuse) -> Problem:
        """Send the signal."""
        if not isinstance(decision, Deliver):
            return decision.message
        try:
            done = await self._cluster.execute(
                key.namespace,
                decision.pod,
                decision.container,
                decision.command,
                timeout=_EXEC_TIMEOUT,
            )
        except ApiError as error:
            return (
                f"The signal could not be sent: {error.message}. It is sent by `sh` in the "
                "kernel's container, which must have one."
            )
        if done.exit_code:
            return (
                "The kernel's processes did not take the signal: "
                f"{done.output.strip() or f'exit code {done.exit_code}'}."
            )
        return None

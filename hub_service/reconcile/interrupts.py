"""spec.interrupt of a JupyterKernel → SIGINT in its container → status.interrupt.

Apart from the kernels' own reconciliation, so that a node that does not answer holds up interrupts
only.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from hub_service import interrupt
from hub_service.interrupt import Deliver
from hub_service.kinds import JUPYTER_KERNELS, Object, status_of
from hub_service.kube import ApiError, Cluster, Key, Reflector
from hub_service.reconcile.calls import patch_status_if_there

log = logging.getLogger(__name__)

_EXEC_TIMEOUT = 5.0


def kernels_to_interrupt(_key: Key, _old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which kernel a kernel's change concerns: itself, if an interrupt is asked for."""
    return () if new is None or interrupt.asked(new) is None else (_key,)


class InterruptReconciler:
    """`reconcile` for a Controller that follows the kernels by `kernels_to_interrupt`."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        kernels: Reflector,
        pods: Reflector,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._pods = pods
        self._now = clock

    async def reconcile(self, key: Key) -> None:
        """Deliver the interrupt that is asked for, at most once, and report."""
        item = self._kernels.store.get(key)
        if item is None:
            return
        pod = self._pods.store.get((key.namespace, str(status_of(item).get("podName"))))
        decision = interrupt.decide(item, pod, self._now())
        if decision is None:
            return
        if await self._write(key, interrupt.status_of_begun(decision.interrupt_id)) is None:
            return
        if isinstance(decision, Deliver):
            problem = await self._deliver(key, decision)
        else:
            problem = decision.message
        log.info("kernel %s: interrupt: %s", key, problem or "SIGINT sent")
        await self._write(key, interrupt.status_of_outcome(decision.interrupt_id, problem))

    async def _deliver(self, key: Key, decision: Deliver) -> str | None:
        """Send the signal; a sentence for the kernel's user where that failed."""
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

    async def _write(self, key: Key, status: Object) -> Object | None:
        """Write part of the status; None where the kernel is gone."""
        return await patch_status_if_there(
            self._cluster, JUPYTER_KERNELS, self._kernels, key, status
        )

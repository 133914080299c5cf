"""What is done in a kernel's pod at most once: begun in the status, done, and reported there.

Whoever finds that it has begun does not do it again: nobody knows whether it was done.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

from hub_service.kinds import JUPYTER_KERNELS, Object
from hub_service.kube import Cluster, Key, Reflector
from hub_service.reconcile.calls import patch_status_if_there

log = logging.getLogger(__name__)

# A sentence for the kernel's user where something went wrong.
Problem = str | None


async def do_once(
    cluster: Cluster,
    kernels: Reflector,
    key: Key,
    what: str,
    *,
    begun: Object,
    act: Callable[[], Awaitable[Problem]],
    outcome: Callable[[Problem], Object],
) -> None:
    """what: for the log; begun, outcome: status to write before and after. ApiError."""
    if await patch_status_if_there(cluster, JUPYTER_KERNELS, kernels, key, begun) is None:
        return
    problem = await act()
    log.info("kernel %s: %s: %s", key, what, problem or "done")
    await patch_status_if_there(cluster, JUPYTER_KERNELS, kernels, key, outcome(problem))

"""A user's wish to keep an idle kernel → its status, at once and by whichever service is asked.

Not by the one that leads alone: a status that somebody else has written meanwhile is looked at
again, so two of them can't grant the same extension.
"""

from __future__ import annotations

import logging

from hub_service import timestamps
from hub_service.culling import keeping
from hub_service.culling.keeping import Kept, NotKept
from hub_service.hub.known_groups import KnownGroups
from hub_service.kinds import JUPYTER_KERNELS, Object
from hub_service.kube import ApiError, Cluster, Reflector, key_of
from hub_service.reconcile.policies import Policies

log = logging.getLogger(__name__)

# A gateway may write its reports at the same time.
_TRIES = 5


class Keeper:
    """Keeps kernels of `kernels`, by `policies`, which rest on `groups`."""

    def __init__(
        self, cluster: Cluster, *, kernels: Reflector, policies: Policies, groups: KnownGroups
    ) -> None:
        self._cluster = cluster
        self._kernels = kernels
        self._policies = policies
        self._groups = groups

    async def keep(self, kernel: Object) -> Kept | NotKept:
        """Keep a kernel for one extension longer. ApiError where that can't be written."""
        await self._groups.recent()
        key = key_of(kernel)
        for attempt in range(1, _TRIES + 1):
            policy = self._policies.of(kernel)
            if policy is None:
                return NotKept("The hub does not tell which rules apply to it. Try again.")
            now = timestamps.now()
            answer = keeping.keep(kernel, policy, now)
            if isinstance(answer, NotKept):
                return answer
            try:
                written = await self._cluster.merge_patch(
                    JUPYTER_KERNELS,
                    key.namespace,
                    key.name,
                    {
                        "metadata": {"resourceVersion": kernel["metadata"]["resourceVersion"]},
                        "status": keeping.status_of_kept(answer, now),
                    },
                    subresource="status",
                )
            except ApiError as error:
                if error.status != 409 or attempt == _TRIES:
                    raise
                kernel = await self._cluster.get(JUPYTER_KERNELS, key.namespace, key.name)
                continue
            self._kernels.record(written)
            log.info("kernel %s: kept until %s", key, answer.until)
            return answer
        raise AssertionError("not reached")

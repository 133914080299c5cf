"""JupyterGateway → Deployment, Service, ServiceAccount, RoleBinding → status."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from hub_service import conditions, gateway
from hub_service.kinds import (
    DEPLOYMENTS,
    JUPYTER_GATEWAYS,
    MANAGER,
    Object,
    is_deleting,
    name_of,
    namespace_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector

log = logging.getLogger(__name__)

# Answers that say that the spec, or the service's own rights, must be changed by somebody.
_REFUSALS = frozenset({400, 403, 422})
_LOOK_AGAIN = 60.0


class GatewayReconciler:
    """`reconcile` for a Controller that follows both reflectors.

    Deployments have their gateway's name, so a change of one concerns the key of the other. What a
    gateway is made of is deleted with it by the cluster.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        gateways: Reflector,
        deployments: Reflector,
        defaults: gateway.Defaults,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._deployments = deployments
        self._defaults = defaults
        self._now = clock

    async def reconcile(self, key: Key) -> float | None:
        """Apply what one gateway is made of, and report."""
        item = self._gateways.store.get(key)
        if item is None or is_deleting(item):
            return None
        refusal = await self._apply(item)
        status = gateway.status(item, self._deployments.store.get(key), refusal, self._now())
        patch = conditions.patch(status_of(item), status)
        if patch:
            written = await self._cluster.merge_patch(
                JUPYTER_GATEWAYS,
                key.namespace,
                key.name,
                {"status": patch},
                subresource="status",
            )
            self._gateways.record(written)
        return _LOOK_AGAIN if refusal else None

    async def _apply(self, item: Object) -> str | None:
        """Apply all parts; what the API server had to say against one, if anything."""
        for resource, body in gateway.desired(item, self._defaults):
            try:
                applied = await self._cluster.apply(
                    resource, namespace_of(item), name_of(item), body, field_manager=MANAGER
                )
            except ApiError as error:
                if error.status not in _REFUSALS:
                    raise
                log.warning(
                    "gateway %s: its %s was refused: %s", name_of(item), resource.kind, error
                )
                return f"{resource.kind}: {error.message}"
            if resource == DEPLOYMENTS:
                self._deployments.record(applied)
        return None

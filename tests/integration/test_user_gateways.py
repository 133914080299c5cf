"""Gateways that were made for one user, and that nobody let go, on a real API server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import count

from hub_service.kinds import (
    ANNOTATION_STARTED,
    JUPYTER_GATEWAYS,
    JUPYTER_KERNELS,
    LABEL_MANAGED_BY,
    SPAWNER,
)
from hub_service.kube import Cluster, Key, Reflector
from hub_service.reconcile.indexes import BY_GATEWAY, gateway_of
from hub_service.reconcile.user_gateways import UserGatewayReconciler
from tests.integration.support import DEADLINE, reflecting

NAME = "gateway-ada"


async def test_it_goes_unless_a_server_starts_in_the_very_moment(
    cluster: Cluster, namespace: str
) -> None:
    now = datetime.now(UTC)
    starting, starts = True, count()

    async def servers_of(user: str) -> frozenset[str]:
        assert user == "ada"
        if starting:  # the hub had answered before it knew
            body = {"metadata": {"annotations": {ANNOTATION_STARTED: str(next(starts))}}}
            await cluster.merge_patch(JUPYTER_GATEWAYS, namespace, NAME, body)
        return frozenset()

    await cluster.create(
        JUPYTER_GATEWAYS,
        namespace,
        {
            "apiVersion": JUPYTER_GATEWAYS.api_version,
            "kind": JUPYTER_GATEWAYS.kind,
            "metadata": {"name": NAME, "labels": {LABEL_MANAGED_BY: SPAWNER}},
            "spec": {"owner": "ada"},
        },
    )
    async with reflecting(cluster, JUPYTER_GATEWAYS, namespace) as gateways:
        kernels = Reflector(
            cluster,
            JUPYTER_KERNELS,
            namespace,
            indexers={BY_GATEWAY: gateway_of},
        )
        reconciler = UserGatewayReconciler(
            cluster, gateways=gateways, kernels=kernels, servers_of=servers_of, clock=lambda: now
        )
        key = Key(namespace, NAME)
        assert await reconciler.reconcile(key) == 60.0
        now += timedelta(minutes=2)
        await gateways.wait_for(key, _is_started, DEADLINE)

        stale = gateways.store.get(key)
        assert await reconciler.reconcile(key) == 60.0
        assert (await cluster.get(JUPYTER_GATEWAYS, namespace, NAME)) is not None
        await gateways.wait_for(key, lambda item: item != stale, DEADLINE)

        starting = False
        assert await reconciler.reconcile(key) is None
        await gateways.wait_for(key, lambda item: item is None, DEADLINE)


def _is_started(item: object) -> bool:
    return isinstance(item, dict) and "annotations" in item["metadata"]

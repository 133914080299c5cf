"""Gateways: the shared one, those that users have, and what runs each."""

from __future__ import annotations

import asyncio
import logging

from hub_service.gateways import gateway
from hub_service.kinds import JUPYTER_GATEWAYS, LABEL_MANAGED_BY, MANAGER, Object
from hub_service.kube import ApiError, Cluster, Controller
from hub_service.kube.backoff import Backoff
from hub_service.reconcile import gateways as gateway_reconciling
from hub_service.reconcile import user_gateways as user_gateway_reconciling
from hub_service.reconcile.gateways import GatewayReconciler
from hub_service.reconcile.servers import ServersOf
from hub_service.reconcile.user_gateways import UserGatewayReconciler
from hub_service.settings import Settings
from hub_service.watches import Watches

log = logging.getLogger(__name__)


def gateway_controller(
    cluster: Cluster, config: Settings, watches: Watches, *, service_token_hash: str | None
) -> Controller:
    """What runs each gateway. service_token_hash: what it knows the service by without a hub."""
    reconciler = GatewayReconciler(
        cluster,
        gateways=watches.gateways,
        deployments=watches.gateway_deployments,
        kernel_specs=watches.kernel_specs,
        kernels=watches.kernels,
        notebooks=watches.notebooks,
        defaults=_gateway_defaults(config),
        spec_namespace=watches.spec_namespace,
        covers=watches.scope.covers,
        service_token_hash=service_token_hash,
    )
    reconcile = watches.scope.within(reconciler.reconcile)
    controller = Controller("gateway", reconcile, workers=2)
    watches.follow(controller, watches.gateways)
    controller.follow(watches.gateway_deployments)
    controller.follow(watches.kernel_specs, reconciler.gateways_of_namespace)
    # A burst of kernels is counted once or twice, not a thousand times.
    controller.follow(watches.kernels, gateway_reconciling.gateway_of_kernel, within=1.0)
    controller.follow(watches.notebooks, gateway_reconciling.gateways_of_notebook)
    return controller


def user_gateway_controller(
    cluster: Cluster, watches: Watches, *, servers_of: ServersOf
) -> Controller:
    """What ends users' own gateways when their servers are gone."""
    reconciler = UserGatewayReconciler(
        cluster,
        gateways=watches.gateways,
        kernels=watches.kernels,
        servers_of=servers_of,
    )
    reconcile = watches.scope.within(reconciler.reconcile)
    controller = Controller("user gateway", reconcile, workers=2)
    watches.follow(controller, watches.gateways, user_gateway_reconciling.that_came_or_went)
    controller.follow(watches.kernels, user_gateway_reconciling.gateway_of_ended_kernel)
    return controller


async def apply_shared_gateway(cluster: Cluster, config: Settings) -> None:
    """Have the JupyterGateway for everybody; tries until that has succeeded."""
    body = shared_gateway(config)
    backoff = Backoff(0.5, 30.0)
    while True:
        try:
            await cluster.apply(
                JUPYTER_GATEWAYS,
                config.namespace,
                config.gateway.name,
                body,
                field_manager=MANAGER,
            )
        except ApiError as error:
            log.warning("the shared gateway %s: %s", config.gateway.name, error)
            await asyncio.sleep(backoff.next())
        else:
            return


def shared_gateway(config: Settings) -> Object:
    """The JupyterGateway for everybody."""
    return {
        "apiVersion": JUPYTER_GATEWAYS.api_version,
        "kind": JUPYTER_GATEWAYS.kind,
        "metadata": {
            "name": config.gateway.name,
            "namespace": config.namespace,
            "labels": {LABEL_MANAGED_BY: MANAGER},
        },
        "spec": {**config.gateway_spec(), "replicas": config.gateway.replicas},
    }


def _gateway_defaults(config: Settings) -> gateway.Defaults:
    return gateway.Defaults(
        image=config.gateway.image,
        image_pull_policy=config.gateway.image_pull_policy,
        image_pull_secrets=tuple(config.gateway.image_pull_secrets),
        start=gateway.StartTimes(
            answer_timeout=config.start.answer_timeout,
            answer_after=config.start.answer_after,
            grace=config.start.grace,
        ),
        cluster_role=config.gateway.cluster_role,
        hub_api_url=config.hub.api_url if config.hub.enabled else None,
        service_name=config.service.name,
        for_user_namespaces=(
            (config.namespace, config.gateway.name) if config.user_namespaces.enabled else None
        ),
    )

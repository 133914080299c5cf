"""Notebook servers without a hub: JupyterNotebooks."""

from __future__ import annotations

from hub_service.kube import Cluster, Controller
from hub_service.notebooks import notebook
from hub_service.reconcile import notebooks as notebook_reconciling
from hub_service.reconcile.notebooks import NotebookReconciler
from hub_service.settings import Settings
from hub_service.watches import Watches


def notebook_controller(cluster: Cluster, config: Settings, watches: Watches) -> Controller:
    """What runs each JupyterNotebook's server."""
    reconciler = NotebookReconciler(
        cluster,
        notebooks=watches.notebooks,
        gateways=watches.gateways,
        kernels=watches.kernels,
        deployments=watches.notebook_deployments,
        defaults=notebook.Defaults(
            image=config.notebook.image,
            image_pull_policy=config.notebook.image_pull_policy,
            start_timeout=config.start.longest_request,
            security=config.pod_security.policy(),
        ),
        covers=watches.scope.covers,
    )
    reconcile = watches.scope.within(reconciler.reconcile)
    controller = Controller("notebook", reconcile, workers=2)
    watches.follow(controller, watches.notebooks)
    controller.follow(watches.notebook_deployments)
    controller.follow(watches.gateways, reconciler.notebooks_of_gateway)
    controller.follow(watches.kernels, notebook_reconciling.notebook_of_kernel)
    return controller

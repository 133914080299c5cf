"""JupyterKernelSpecs and JupyterKernelTemplates."""

from __future__ import annotations

from hub_service.kube import Cluster, Controller
from hub_service.pods.podsecurity import Policy
from hub_service.reconcile.kernelspecs import (
    SpecReconciler,
    TemplateReconciler,
    if_meant_differently,
    of_kernel_that_came_or_went,
    spec_of_kernel,
    template_of_kernel,
    templates_of_spec,
)
from hub_service.watches import Watches

# A burst of kernels is counted once or twice, not a thousand times.
_COUNT_WITHIN = 1.0


def kernel_spec_controllers(
    cluster: Cluster, watches: Watches, security: Policy
) -> list[Controller]:
    """What says in their status what is wrong with them, and who uses them."""
    of_specs = SpecReconciler(
        cluster,
        specs=watches.kernel_specs,
        templates=watches.templates,
        kernels=watches.kernels,
        security=security,
    )
    specs = Controller("kernel spec", of_specs.reconcile, workers=2)
    specs.follow(watches.kernel_specs, if_meant_differently)
    specs.follow(watches.templates, of_specs.specs_of_template)
    counted = of_kernel_that_came_or_went(spec_of_kernel)
    specs.follow(watches.kernels, counted, within=_COUNT_WITHIN)
    of_templates = TemplateReconciler(
        cluster,
        specs=watches.kernel_specs,
        templates=watches.templates,
        kernels=watches.kernels,
        security=security,
    )
    templates = Controller("kernel template", of_templates.reconcile, workers=2)
    templates.follow(watches.templates, if_meant_differently)
    templates.follow(watches.kernel_specs, templates_of_spec)
    counted = of_kernel_that_came_or_went(template_of_kernel)
    templates.follow(watches.kernels, counted, within=_COUNT_WITHIN)
    return [specs, templates]

"""The JupyterKernelTemplate that a JupyterKernelSpec names, wherever it is."""

from __future__ import annotations

from hub_service.kernelspecs.kernelspec import template_reference
from hub_service.kinds import JUPYTER_KERNEL_TEMPLATES, Object, namespace_of
from hub_service.kube import ApiError, Cluster, Reflector


async def template_of(
    cluster: Cluster, templates: Reflector, spec: Object
) -> tuple[Object | None, bool]:
    """The template that a spec names, and whether it may not be read. Raises ApiError.

    Those of the spec's own namespace are in the copy; others are read.
    """
    reference = template_reference(spec)
    if reference is None:
        return None, False
    if reference[0] == namespace_of(spec):
        return templates.store.get(reference), False
    try:
        return await cluster.get(JUPYTER_KERNEL_TEMPLATES, *reference), False
    except ApiError as error:
        if error.status not in (403, 404):
            raise
        return None, error.status == 403

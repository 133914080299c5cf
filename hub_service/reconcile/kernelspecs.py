"""JupyterKernelSpecs and JupyterKernelTemplates → their status, and Events when one is deleted.

Nothing here starts or ends a kernel: a gateway reads the spec when it starts one, and the kernel
keeps a copy of what it was started from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service import conditions, timestamps
from hub_service.kernelspecs import kernelspec_status
from hub_service.kernelspecs.kernelspec import (
    KernelSpecError,
    KernelTemplate,
    kernel_template,
    template_reference,
)
from hub_service.kernelspecs.kernelspec_status import Problem, is_in_use
from hub_service.kinds import (
    EVENTS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    PODS,
    Object,
    Reason,
    Resource,
    is_deleting,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.kube.controller import Concerns
from hub_service.pods.podsecurity import Policy
from hub_service.reconcile.calls import REFUSALS, find, patch_status_if_there
from hub_service.reconcile.templates import template_of

log = logging.getLogger(__name__)

BY_SPEC = "spec"
BY_TEMPLATE = "template"

# What a pod names (runtime classes, limits of the namespace) can come and go without notice here.
_TRY_AGAIN = timedelta(minutes=5)
# Templates of other namespaces are not watched.
_READ_AGAIN = 60.0


def spec_of_kernel(kernel: Object) -> str | None:
    """Index of JupyterKernels by the JupyterKernelSpec they were started from."""
    name = spec_of(kernel).get("kernelSpecName")
    return str(Key(namespace_of(kernel), name)) if name else None


def template_of_kernel(kernel: Object) -> str | None:
    """Index of JupyterKernels by the JupyterKernelTemplate they were started from."""
    reference = spec_of(kernel).get("kernelTemplate")
    return str(Key(reference["namespace"], reference["name"])) if reference else None


def template_of_spec(spec: Object) -> str | None:
    """Index of JupyterKernelSpecs by the JupyterKernelTemplate that they name."""
    reference = template_reference(spec)
    return str(Key(*reference)) if reference else None


KERNEL_INDEXERS = {BY_SPEC: spec_of_kernel, BY_TEMPLATE: template_of_kernel}
SPEC_INDEXERS = {BY_TEMPLATE: template_of_spec}


class _Trial(NamedTuple):
    """What the API server said of a pod, for which spec and template, and when."""

    of: tuple[object, ...]
    at: datetime
    problem: Problem | None


class SpecReconciler:
    """`reconcile` for the controller of JupyterKernelSpecs."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        specs: Reflector,
        templates: Reflector,
        kernels: Reflector,
        security: Policy,
    ) -> None:
        self._cluster = cluster
        self._specs = specs
        self._templates = templates
        self._kernels = kernels
        self._security = security
        self._trials: dict[Key, _Trial] = {}

    def specs_of_template(self, key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """Which specs a template's change concerns: all that name it."""
        if not list(if_meant_differently(key, old, new)):
            return ()
        return [key_of(spec) for spec in self._specs.store.by_index(BY_TEMPLATE, str(key))]

    async def reconcile(self, key: Key) -> float | None:
        """Find out whether kernels can be started from one spec, and say so."""
        item = self._specs.store.get(key)
        kernels = _in_use(self._kernels, BY_SPEC, key)
        if item is None or is_deleting(item):
            self._trials.pop(key, None)
            await _say_deleted(self._cluster, JUPYTER_KERNEL_SPECS, key, kernels)
            return None
        reference = template_reference(item)
        template, forbidden = await template_of(self._cluster, self._templates, item)
        problem, left_out = None, list[str]()
        try:
            made = kernel_template(item, template, forbidden=forbidden)
        except KernelSpecError as error:
            self._trials.pop(key, None)
            problem = Problem(error.reason, str(error))
        else:
            left_out = made.left_out
            problem = kernelspec_status.not_allowed(made.template, self._security)
            problem = problem or await self._try(key, item, template, made)
        status = kernelspec_status.spec_status(
            item, problem, left_out, len(kernels), timestamps.now()
        )
        await _write(self._cluster, JUPYTER_KERNEL_SPECS, self._specs, item, status)
        if reference and reference[0] != key.namespace:
            return _READ_AGAIN
        return _TRY_AGAIN.total_seconds()

    async def _try(
        self, key: Key, item: Object, template: Object | None, made: KernelTemplate
    ) -> Problem | None:
        """Ask the API server whether it would take such a pod, without making one."""
        version = template["metadata"]["resourceVersion"] if template else None
        of = (uid_of(item), item["metadata"].get("generation"), version)
        last, now = self._trials.get(key), timestamps.now()
        if last and last.of == of and now - last.at < _TRY_AGAIN:
            return last.problem
        problem = None
        try:
            body = kernelspec_status.trial_pod(item, made.template, self._security)
            await self._cluster.create(PODS, key.namespace, body, dry_run=True)
        except ApiError as error:
            # That the namespace is full now says nothing about the spec.
            if error.status in REFUSALS and "exceeded quota" not in error.message:
                problem = Problem(Reason.POD_REJECTED, error.message)
            elif error.status not in REFUSALS:
                raise
        self._trials[key] = _Trial(of, now, problem)
        return problem


class TemplateReconciler:
    """`reconcile` for the controller of JupyterKernelTemplates."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        specs: Reflector,
        templates: Reflector,
        kernels: Reflector,
        security: Policy,
    ) -> None:
        self._cluster = cluster
        self._specs = specs
        self._templates = templates
        self._kernels = kernels
        self._security = security

    async def reconcile(self, key: Key) -> None:
        """Say what is wrong with one template, and who uses it."""
        item = self._templates.store.get(key)
        kernels = _in_use(self._kernels, BY_TEMPLATE, key)
        if item is None or is_deleting(item):
            await _say_deleted(self._cluster, JUPYTER_KERNEL_TEMPLATES, key, kernels)
            return
        specs = self._specs.store.by_index(BY_TEMPLATE, str(key))
        status = kernelspec_status.template_status(
            item, len(specs), len(kernels), self._security, timestamps.now()
        )
        await _write(self._cluster, JUPYTER_KERNEL_TEMPLATES, self._templates, item, status)


def if_meant_differently(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """An object's own key, unless only its status changed."""
    if old and new and uid_of(old) == uid_of(new) and spec_of(old) == spec_of(new):
        return ()
    return (key,)


def templates_of_spec(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """The templates that a spec named and names, where that changed."""
    before, after = (template_reference(spec) if spec else None for spec in (old, new))
    return () if before == after else [Key(*ref) for ref in (before, after) if ref]


def of_kernel_that_came_or_went(index: Callable[[Object], str | None]) -> Concerns:
    """What the index finds of a kernel that is counted from now on, or no longer."""

    def concerned(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        counted = [kernel is not None and is_in_use(kernel) for kernel in (old, new)]
        found = index(new or old or {})
        if counted[0] == counted[1] or found is None:
            return ()
        namespace, _, name = found.partition("/")
        return (Key(namespace, name),)

    return concerned


def _in_use(kernels: Reflector, index: str, key: Key) -> list[Object]:
    return [kernel for kernel in kernels.store.by_index(index, str(key)) if is_in_use(kernel)]


async def _say_deleted(
    cluster: Cluster, resource: Resource, key: Key, kernels: list[Object]
) -> None:
    """Put an Event on each kernel whose spec or template is gone."""
    if not kernels:
        return
    try:
        # A kernel can be seen here before the spec that it was started from.
        found = await find(cluster, resource, key)
    except ApiError as error:
        if error.status == 403:
            return  # elsewhere, and not ours to know
        raise
    if found is not None and not is_deleting(found):
        return
    for kernel in kernels:
        event = kernelspec_status.deletion_event(kernel, resource, key.name, timestamps.now())
        try:
            await cluster.create(EVENTS, namespace_of(kernel), event)
        except ApiError as error:
            if error.reason != "AlreadyExists":
                raise
    log.info("%s %s was deleted while %d kernels use it", resource.kind, key, len(kernels))


async def _write(
    cluster: Cluster, resource: Resource, reflector: Reflector, item: Object, status: Object
) -> None:
    patch = conditions.patch(status_of(item), status)
    if patch:
        await patch_status_if_there(cluster, resource, reflector, key_of(item), patch)

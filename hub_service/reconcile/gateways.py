"""JupyterGateway → Deployment, Service, ServiceAccount, RoleBinding → status."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

from hub_service import conditions, timestamps
from hub_service.gateways import gateway
from hub_service.gateways.gateway import Surroundings
from hub_service.kernels import kernel
from hub_service.kernelspecs import parameters
from hub_service.kinds import (
    DEPLOYMENTS,
    JUPYTER_GATEWAYS,
    MANAGER,
    ROLE_BINDINGS,
    Object,
    Resource,
    controller_uid,
    gateway_reference,
    is_deleting,
    name_of,
    namespace_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.notebooks import notebook
from hub_service.reconcile.calls import REFUSALS, apply_role_binding, patch_status
from hub_service.reconcile.indexes import BY_GATEWAY

log = logging.getLogger(__name__)

_LOOK_AGAIN = 60.0
# Only Deployments are watched. What somebody does to the other parts is put right after this.
_APPLY_AGAIN = timedelta(minutes=10)


@dataclass(frozen=True)
class _Applied:
    """What was applied last, the Deployment's generation then, and when."""

    parts: list[tuple[Resource, Object]]
    generation: int | None
    at: datetime


class GatewayReconciler:
    """`reconcile` for a Controller that follows all reflectors.

    `kernels` and `notebooks` need the index BY_GATEWAY. Deployments have their gateway's name, so a
    change of one concerns the key of the other. What a gateway is made of is deleted with it by the
    cluster. `spec_namespace` says where the kernel specs of a namespace's gateways are.
    `covers` tells whether the service looks after a namespace. `service_token_hash` is the
    service's own, where gateways can't ask a hub about it.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        gateways: Reflector,
        deployments: Reflector,
        kernel_specs: Reflector,
        kernels: Reflector,
        notebooks: Reflector,
        defaults: gateway.Defaults,
        spec_namespace: Callable[[str], str] = lambda namespace: namespace,
        covers: Callable[[str], bool] = lambda _: True,
        service_token_hash: str | None = None,
    ) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._deployments = deployments
        self._kernel_specs = kernel_specs
        self._kernels = kernels
        self._notebooks = notebooks
        self._defaults = defaults
        self._spec_namespace = spec_namespace
        self._covers = covers
        self._service_token_hash = service_token_hash
        self._applied: dict[Key, _Applied] = {}

    def gateways_of_namespace(
        self, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Which gateways a JupyterKernelSpec concerns when it comes or goes."""
        if old is not None and new is not None:
            return ()
        return [
            key_of(item)
            for item in self._gateways.store
            if self._spec_namespace(namespace_of(item)) == key.namespace
        ]

    async def reconcile(self, key: Key) -> float | None:
        """Apply what one gateway is made of, and report."""
        item = self._gateways.store.get(key)
        if item is None or is_deleting(item):
            self._applied.pop(key, None)
            return None
        refusal = await self._apply(key, item)
        status = gateway.status(item, self._around(key, item, refusal), timestamps.now())
        patch = conditions.patch(status_of(item), status)
        if patch:
            await patch_status(self._cluster, JUPYTER_GATEWAYS, self._gateways, key, patch)
        return _LOOK_AGAIN if refusal else _APPLY_AGAIN.total_seconds()

    def _around(self, key: Key, item: Object, refusal: str | None) -> Surroundings:
        where = self._spec_namespace(key.namespace)
        specs = (spec for spec in self._kernel_specs.store if namespace_of(spec) == where)
        kernels = self._kernels.store.by_index(BY_GATEWAY, str(key))
        # In other namespaces somebody else may have written the hash of a token of theirs.
        notebooks = [
            one
            for one in self._notebooks.store.by_index(BY_GATEWAY, str(key))
            if self._covers(namespace_of(one))
        ]
        return Surroundings(
            deployment=self._deployments.store.get(key),
            refusal=refusal,
            kernel_specs=frozenset(name for spec in specs for name in parameters.names(spec)),
            kernels=sum(map(is_alive, kernels)),
            notebooks=notebook.callers(item, notebooks),
            service_token_hash=self._service_token_hash,
        )

    async def _apply(self, key: Key, item: Object) -> str | None:
        """Apply all parts where there is reason to; what the API server had to say against one."""
        where = self._spec_namespace(key.namespace)
        defaults = replace(self._defaults, spec_namespace=None if where == key.namespace else where)
        parts = gateway.desired(item, defaults)
        last, now = self._applied.get(key), timestamps.now()
        if (
            last is not None
            and last.parts == parts
            and last.generation == self._generation(key)
            and now - last.at < _APPLY_AGAIN
        ):
            return None
        self._applied.pop(key, None)
        for resource, body in parts:
            try:
                if resource == ROLE_BINDINGS:
                    await apply_role_binding(self._cluster, body, is_ours=partial(_is_of, item))
                else:
                    applied = await self._apply_one(resource, body)
            except ApiError as error:
                if error.status not in REFUSALS:
                    raise
                refusal = gateway.refusal(resource, body, error.status, error.message)
                log.warning("gateway %s: refused: %s", key, refusal)
                return refusal
            if resource == DEPLOYMENTS:
                self._deployments.record(applied)
        self._applied[key] = _Applied(parts, self._generation(key), now)
        return None

    async def _apply_one(self, resource: Resource, body: Object) -> Object:
        return await self._cluster.apply(
            resource, namespace_of(body), name_of(body), body, field_manager=MANAGER
        )

    def _generation(self, key: Key) -> int | None:
        deployment = self._deployments.store.get(key)
        return None if deployment is None else int(deployment["metadata"]["generation"])


def _is_of(item: Object, binding: Object) -> bool:
    return controller_uid(binding, JUPYTER_GATEWAYS.kind) == uid_of(item)


def is_alive(item: Object) -> bool:
    """Whether a JupyterKernel is there and goes on: what a gateway's status counts."""
    return not kernel.is_finished(item) and not is_deleting(item)


def gateway_of_kernel(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which gateway counts differently now."""
    if bool(old and is_alive(old)) == bool(new and is_alive(new)):
        return ()
    reference = gateway_reference(old or new or {})
    return (Key(*reference),) if reference else ()


def gateways_of_notebook(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which gateways a notebook comes to or leaves."""
    before = (gateway_reference(old), notebook.caller(old)) if old else None
    after = (gateway_reference(new), notebook.caller(new)) if new else None
    if before == after:
        return ()
    references = (entry[0] for entry in (before, after) if entry)
    return {Key(*reference) for reference in references if reference}

"""JupyterNotebook → Secret, Service, Deployment → status; and the end of its kernels."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable, Iterable

from hub_service import conditions, timestamps
from hub_service.kinds import (
    DEPLOYMENTS,
    JUPYTER_KERNELS,
    JUPYTER_NOTEBOOKS,
    MANAGER,
    SECRETS,
    Object,
    controller_uid,
    gateway_reference,
    is_deleting,
    name_of,
    namespace_of,
    spec_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.notebooks import notebook, notebook_tokens
from hub_service.reconcile.calls import REFUSALS, delete, find, patch_status
from hub_service.reconcile.indexes import BY_GATEWAY

log = logging.getLogger(__name__)

BY_NOTEBOOK = "notebook"
_LOOK_AGAIN = 60.0


def notebook_of(kernel: Object) -> str | None:
    """Index of JupyterKernels by JupyterNotebook, as the text of its key."""
    reference = spec_of(kernel).get("notebook")
    return str(Key(reference["namespace"], reference["name"])) if reference else None


def notebook_of_kernel(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """Which notebook a kernel's appearance concerns: one that is gone takes its kernels along."""
    if new is None or old is not None or notebook_of(new) is None:
        return ()
    reference = spec_of(new)["notebook"]
    return (Key(reference["namespace"], reference["name"]),)


class NotebookReconciler:
    """`reconcile` for a Controller that follows all four reflectors.

    `notebooks` needs the index BY_GATEWAY, `kernels` BY_NOTEBOOK; Deployments have their notebook's
    name. What a notebook is made of is deleted with it by the cluster, its kernels here. `covers`
    tells whether the service looks after a namespace.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        notebooks: Reflector,
        gateways: Reflector,
        kernels: Reflector,
        deployments: Reflector,
        defaults: notebook.Defaults,
        covers: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self._cluster = cluster
        self._notebooks = notebooks
        self._gateways = gateways
        self._kernels = kernels
        self._deployments = deployments
        self._defaults = defaults
        self._covers = covers

    def notebooks_of_gateway(
        self, key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """Which notebooks a gateway's change concerns."""
        if old and new and _decisive(old) == _decisive(new):
            return ()
        return [key_of(item) for item in self._notebooks.store.by_index(BY_GATEWAY, str(key))]

    async def reconcile(self, key: Key) -> float | None:
        """Bring what one notebook is made of to what it ought to be, and report."""
        item = self._notebooks.store.get(key)
        if item is None or is_deleting(item):
            await self._end_kernels(key)
            return None
        digest, refusal = status_of(item).get("gatewayTokenHash"), None
        try:
            secret = await self._secret(item)
            token = notebook_tokens.decoded(secret["data"][notebook_tokens.GATEWAY_TOKEN])
            digest = notebook_tokens.token_hash(token)
            await self._apply(item, secret["metadata"]["resourceVersion"])
        except notebook.NotebookError as error:
            refusal = str(error)
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            log.warning("notebook %s: refused: %s", key, error)
            refusal = error.message
        await self._report(item, digest, refusal)
        return _LOOK_AGAIN if refusal else None

    async def _secret(self, item: Object) -> Object:
        """The notebook's Secret, made or brought up to date."""
        namespace, name = namespace_of(item), notebook_tokens.secret_name(item)
        present = await find(self._cluster, SECRETS, Key(namespace, name))
        if present is not None and controller_uid(present, JUPYTER_NOTEBOOKS.kind) != uid_of(item):
            raise notebook.NotebookError(
                f"There is a Secret {name} already, which isn't this notebook's. Delete it, or "
                "give the notebook another name."
            )
        there: dict[str, str] = (present or {}).get("data") or {}
        data = notebook_tokens.secret_data(
            item, there, secrets.token_hex(32), secrets.token_urlsafe(24)
        )
        if present is None:
            body = {"metadata": notebook.metadata(item, name), "type": "Opaque", "data": data}
            return await self._cluster.create(SECRETS, namespace, body)
        if there == data:
            return present
        patch: Object = {"data": {**dict.fromkeys(there.keys() - data.keys()), **data}}
        return await self._cluster.merge_patch(SECRETS, namespace, name, patch)

    async def _apply(self, item: Object, secret_version: str) -> None:
        for resource, body in notebook.desired(item, self._defaults, secret_version):
            applied = await self._cluster.apply(
                resource, namespace_of(item), name_of(item), body, field_manager=MANAGER
            )
            if resource == DEPLOYMENTS:
                self._deployments.record(applied)

    async def _report(self, item: Object, digest: str | None, refusal: str | None) -> None:
        reference = gateway_reference(item)
        status = notebook.status(
            item,
            deployment=self._deployments.store.get(key_of(item)),
            gateway_item=self._gateway(reference) if reference else None,
            gateway_token_hash=digest,
            refusal=refusal,
            now=timestamps.now(),
        )
        patch = conditions.patch(status_of(item), status)
        if patch:
            await patch_status(
                self._cluster, JUPYTER_NOTEBOOKS, self._notebooks, key_of(item), patch
            )

    def _gateway(self, reference: tuple[str, str]) -> Object | None:
        namespace, _ = reference
        return self._gateways.store.get(reference) if self._covers(namespace) else None

    async def _end_kernels(self, key: Key) -> None:
        """Delete the kernels that a notebook leaves behind."""
        kernels = self._kernels.store.by_index(BY_NOTEBOOK, str(key))
        left = [kernel for kernel in kernels if not is_deleting(kernel)]
        if not left:
            return
        # It may only be that the service no longer looks after the notebook's namespace.
        found = await find(self._cluster, JUPYTER_NOTEBOOKS, key)
        if found is not None and not is_deleting(found):
            return
        for kernel in left:
            log.info("kernel %s: its notebook %s is gone", key_of(kernel), key)
            await delete(self._cluster, JUPYTER_KERNELS, kernel)


def _decisive(gateway: Object) -> tuple[object, object]:
    return spec_of(gateway).get("notebookNamespaces"), status_of(gateway).get("notebooks")

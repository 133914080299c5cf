"""Calls to the API server that several reconcilers make."""

from __future__ import annotations

from collections.abc import Callable

from hub_service.kinds import (
    MANAGER,
    ROLE_BINDINGS,
    Object,
    is_deleting,
    name_of,
    namespace_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, ResourceType, key_of

# Answers that another try would not change: the object, or the service's own rights, must be
# changed by somebody first.
REFUSALS = frozenset({400, 403, 422})


async def find(cluster: Cluster, resource: ResourceType, key: Key) -> Object | None:
    """An object, asked of the API server, as a watch may be behind; None where there is none."""
    try:
        return await cluster.get(resource, key.namespace, key.name)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


async def patch_status(
    cluster: Cluster, resource: ResourceType, reflector: Reflector, key: Key, patch: Object
) -> Object:
    """Write part of a status, and let the reflector know the object as it is then. ApiError."""
    written = await cluster.merge_patch(
        resource, key.namespace, key.name, {"status": patch}, subresource="status"
    )
    reflector.record(written)
    return written


async def patch_status_if_there(
    cluster: Cluster, resource: ResourceType, reflector: Reflector, key: Key, patch: Object
) -> Object | None:
    """As `patch_status`; None where the object is gone. ApiError for anything else."""
    try:
        return await patch_status(cluster, resource, reflector, key, patch)
    except ApiError as error:
        if error.status != 404:
            raise
        return None


async def delete(cluster: Cluster, resource: ResourceType, item: Object) -> None:
    """Delete that very object, unless it is being deleted, or has gone."""
    if is_deleting(item):
        return
    try:
        await cluster.delete(resource, namespace_of(item), name_of(item), uid=uid_of(item))
    except ApiError as error:
        if error.status not in (404, 409):  # gone, or another of that name by now
            raise


async def apply_role_binding(
    cluster: Cluster, body: Object, *, is_ours: Callable[[Object], bool]
) -> None:
    """Apply it; with another role, which can't be changed in place, make it anew. ApiError.

    is_ours: whether the one that is there may be deleted for that.
    """
    namespace, name = key_of(body)
    try:
        await cluster.apply(ROLE_BINDINGS, namespace, name, body, field_manager=MANAGER)
    except ApiError as error:
        if error.status != 422:
            raise
        present = await cluster.get(ROLE_BINDINGS, namespace, name)
        if present["roleRef"] == body["roleRef"] or not is_ours(present):
            raise
        # If it is a role that the service may not hand out, the gateway keeps what it has.
        trial = {**body, "metadata": {**body["metadata"], "name": f"{name}-trial"}}
        await cluster.create(ROLE_BINDINGS, namespace, trial, dry_run=True)
        await cluster.delete(ROLE_BINDINGS, namespace, name, uid=uid_of(present))
        await cluster.apply(ROLE_BINDINGS, namespace, name, body, field_manager=MANAGER)

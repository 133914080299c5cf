"""Gateways of users who have no server any more, which nobody let go → deleted."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from hub_service import timestamps
from hub_service.gateways import user_gateways
from hub_service.kinds import JUPYTER_GATEWAYS, Object, gateway_reference, uid_of
from hub_service.kube import ApiError, Cluster, Key, Reflector
from hub_service.reconcile.indexes import BY_GATEWAY
from hub_service.reconcile.servers import ServersOf

log = logging.getLogger(__name__)


def that_came_or_went(key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """A gateway itself, where it is another than before; the hub isn't asked at each change."""
    same = old is not None and new is not None and uid_of(old) == uid_of(new)
    return () if same else (key,)


def gateway_of_ended_kernel(_key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
    """The gateway that a kernel kept from being removed."""
    reference = gateway_reference(old) if old and new is None else None
    return (Key(*reference),) if reference else ()


class UserGatewayReconciler:
    """`reconcile` for a Controller that follows the gateways.

    `kernels` needs the index BY_GATEWAY. `servers_of` asks the hub, see hub.HubClient.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        gateways: Reflector,
        kernels: Reflector,
        servers_of: ServersOf,
        look_again: timedelta = user_gateways.LOOK_AGAIN,
        grace: timedelta = user_gateways.GRACE,
        clock: Callable[[], datetime] = timestamps.now,
    ) -> None:
        self._cluster = cluster
        self._gateways = gateways
        self._kernels = kernels
        self._servers_of = servers_of
        self._look_again = look_again
        self._grace = grace
        self._now = clock
        self._unused_since: dict[Key, tuple[str, datetime]] = {}  # with the uid it was seen of

    async def reconcile(self, key: Key) -> float | None:
        """Ask the hub about one gateway, and delete it if nobody has used it for a while."""
        item = self._gateways.store.get(key)
        if item is None or not user_gateways.is_one_users(item):
            self._unused_since.pop(key, None)
            return None
        # The answer is newer than `item`: a start since then has changed the resource's version.
        servers = await self._servers_of(user_gateways.owner_of(item))
        uid, since = self._unused_since.get(key, ("", None))
        decision = user_gateways.decide(
            item,
            servers,
            has_kernels=bool(self._kernels.store.by_index(BY_GATEWAY, str(key))),
            unused_since=since if uid == uid_of(item) else None,
            now=self._now(),
            look_again=self._look_again,
            grace=self._grace,
        )
        if isinstance(decision, user_gateways.Keep):
            self._unused_since.pop(key, None)
            if decision.unused_since is not None:
                self._unused_since[key] = (uid_of(item), decision.unused_since)
            return (decision.until - self._now()).total_seconds()
        log.info("gateway %s: deleted: its user has no server any more", key)
        try:
            await self._cluster.delete(
                JUPYTER_GATEWAYS,
                key.namespace,
                key.name,
                uid=uid_of(item),
                resource_version=item["metadata"]["resourceVersion"],
            )
        except ApiError as error:
            if error.status == 409:  # changed meanwhile: look at what it is now
                return self._grace.total_seconds()
            if error.status != 404:
                raise
        return None

"""Makes users' own gateways, waits for them, and lets them go: the spawner's calls for that."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit
from uuid import uuid4

from elastic_spawner import user_gateway
from elastic_spawner.errors import StartError
from hub_service import kinds, timestamps
from hub_service.hub import server_stops
from hub_service.hub.server_stops import Stop, with_new
from hub_service.kinds import Object
from hub_service.kube import ApiError, Cluster, Key, Reflector

log = logging.getLogger(__name__)


async def bring_up(
    cluster: Cluster, wanted: Object, *, say: Callable[[str], None], timeout: float
) -> None:
    """Apply a user's gateway and return once it answers.

    say: told, in a line for the spawn page, what it waits for.
    timeout: seconds. Raises StartError with the sentence of the gateway's condition.
    """
    started = time.monotonic()
    name, namespace = kinds.name_of(wanted), kinds.namespace_of(wanted)
    say("gateway: starting")
    try:
        await _apply(cluster, wanted)
    except ApiError as error:
        raise StartError(f"The gateway could not be made: {error.message}") from error
    last = user_gateway.Readiness(False, False, "")

    def decided(gateway: Object | None) -> bool:
        nonlocal last
        now = user_gateway.readiness(gateway)
        if now.message != last.message and not now.ready:
            say(f"gateway: {now.message}")
        last = now
        return now.ready or now.failed

    selector = f"{kinds.LABEL_OWNER}={wanted['metadata']['labels'][kinds.LABEL_OWNER]}"
    reflector = Reflector(cluster, kinds.JUPYTER_GATEWAYS, namespace, label_selector=selector)
    watching = asyncio.create_task(reflector.run())
    try:
        await reflector.wait_for((namespace, name), decided, timeout)
    except TimeoutError:
        raise StartError(
            f"The gateway {name} was not ready within {timeout:.0f} s. {last.message}".rstrip()
        ) from None
    finally:
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
    if last.failed:
        raise StartError(f"The gateway {name} does not come up. {last.message}")
    say(f"gateway: ready after {time.monotonic() - started:.0f} s")


class StopsTold:
    """Tells gateways of servers that stopped, so that their tokens are not taken any longer.

    One for the whole hub: what it told a moment ago is told again, for those who missed it.
    """

    def __init__(self) -> None:
        self._stops: dict[Key, list[Stop]] = {}

    async def tell(self, cluster: Cluster, url: str, owner: str) -> None:
        """A server of that owner has stopped which used the gateway at that URL.

        One that is not told finds out within half a minute.
        """
        name, _, rest = str(urlsplit(url).hostname).partition(".")
        gateway = Key(rest.partition(".")[0], name)
        if not gateway.namespace:
            return  # none, or none of ours
        stop = Stop(uuid4().hex, owner, timestamps.now())
        stops = self._stops[gateway] = with_new(self._stops.get(gateway, ()), stop)
        body = {"metadata": {"annotations": {server_stops.ANNOTATION: server_stops.text(stops)}}}
        try:
            await cluster.merge_patch(kinds.JUPYTER_GATEWAYS, gateway.namespace, gateway.name, body)
        except ApiError as error:
            del self._stops[gateway]
            if error.status != 404:  # let go, with its user's last server
                log.warning("gateway %s is not told of a stopped server: %s", gateway, error)


async def let_go(cluster: Cluster, namespace: str, name: str) -> None:
    """Delete a user's gateway; gone already is fine."""
    try:
        await cluster.delete(kinds.JUPYTER_GATEWAYS, namespace, name)
    except ApiError as error:
        if error.status != 404:
            raise


async def _apply(cluster: Cluster, wanted: Object) -> None:
    name, namespace = kinds.name_of(wanted), kinds.namespace_of(wanted)
    try:
        present = await cluster.get(kinds.JUPYTER_GATEWAYS, namespace, name)
    except ApiError as error:
        if error.status != 404:
            raise
    else:
        if not user_gateway.is_ours(present):
            raise StartError(
                f"There is a JupyterGateway {name} in {namespace} already that is not this hub's. "
                "The administrator renames or removes it."
            )
    await cluster.apply(
        kinds.JUPYTER_GATEWAYS, namespace, name, wanted, field_manager=kinds.SPAWNER
    )

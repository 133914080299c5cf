"""The JupyterGateway that this process serves, as the watch has it.

Which specs are offered, the times of a start, how much is logged and which callers need no
hub: all of it is read here at every question, so that a change counts from the next request on and
no kernel has to end for it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from elastic_spawner.gateway.identity import Identity
from hub_service import kinds
from hub_service.hub import server_stops
from hub_service.kinds import Object
from hub_service.kube import Key, Reflector

DEFAULT_LOG_LEVEL = "INFO"


@dataclass(frozen=True)
class Offer:
    """What a JupyterGateway says; made by `read`.

    kernels: names of the specs offered; empty means all.
    default_kernel: the spec of a start that names none; None means the first one offered.
    start_timeout: seconds from a kernel's container running to its first answer.
    answer_after: seconds after which a request for a kernel that still starts is answered.
    grace: seconds after which a starting kernel ends that no client is connected to.
    (Of these three, None leaves it to the Deployment's.)
    owner: the one user who may call; None is everybody.
    callers: who may call without the hub being asked, by the SHA-256 of their token.
    stops: of hub servers, a moment ago: an id each, and whose server it was.
    """

    kernels: frozenset[str] = frozenset()
    default_kernel: str | None = None
    start_timeout: float | None = None
    answer_after: float | None = None
    grace: float | None = None
    owner: str | None = None
    log_level: str = DEFAULT_LOG_LEVEL
    callers: dict[str, Identity] = field(default_factory=dict)
    stops: dict[str, str] = field(default_factory=dict)


def read(gateway: Object, service_name: str) -> Offer:
    """What a JupyterGateway says. Pure.

    service_name: under which the hub service is known, which its own token stands for.
    """
    spec, status = kinds.spec_of(gateway), kinds.status_of(gateway)
    callers = {
        entry["tokenHash"]: Identity(entry["owner"], notebook=(entry["namespace"], entry["name"]))
        for entry in status.get("notebooks") or []
    }
    if digest := status.get("serviceTokenHash"):
        callers[digest] = Identity(service_name, is_service=True)
    return Offer(
        kernels=frozenset(spec.get("kernels") or []),
        default_kernel=spec.get("defaultKernel") or None,
        start_timeout=_seconds(spec, "startTimeout"),
        answer_after=_seconds(spec, "startAnswerAfter"),
        grace=_seconds(spec, "startGrace"),
        owner=spec.get("owner") or None,
        log_level=spec.get("logLevel") or DEFAULT_LOG_LEVEL,
        callers=callers,
        stops=server_stops.read(kinds.annotations_of(gateway)),
    )


def _seconds(spec: Object, field_name: str) -> float | None:
    value = spec.get(field_name)
    return None if value is None else float(value)


class GatewayResource:
    """Keeps `offer` current.

    cache: of that one JupyterGateway. What was known of one that is deleted stays: its process is
    about to end, and must not open to everybody until then.
    """

    def __init__(self, cache: Reflector, service_name: str) -> None:
        self.cache = cache
        self.offer: Offer | None = None
        self._service_name = service_name
        self._listeners: list[Callable[[Offer], None]] = []
        cache.subscribe(self._on_change)

    @property
    def current(self) -> Offer:
        """The offer; the gateway serves nobody before there is one."""
        assert self.offer is not None  # noqa: S101 - `running` waits for it
        return self.offer

    def caller(self, digest: str) -> Identity | None:
        """Who may call with the token of that SHA-256, without the hub being asked."""
        return self.current.callers.get(digest)

    def subscribe(self, listener: Callable[[Offer], None]) -> None:
        """Tell this one of every change from now on."""
        self._listeners.append(listener)

    def _on_change(self, _: Key, _old: Object | None, new: Object | None) -> None:
        if new is None:
            return
        offer = read(new, self._service_name)
        if offer != self.offer:
            self.offer = offer
            for listener in self._listeners:
                listener(offer)

"""A user's own JupyterGateway: what it is, and whether it is up. Pure.

In gateway mode per-user the spawner makes it beside the notebook's pod. The service turns it into
a Deployment and says in its conditions how far that is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from hub_service import kinds, timestamps
from hub_service.kinds import Object
from hub_service.names import safe_label, user_gateway_name


class ProfileError(ValueError):
    """What a profile asks for can't be had; the message says why, and what to change."""


@dataclass(frozen=True)
class Choice:
    """What a profile sets of the gateway's spec; what is empty is left as it is for everybody.

    cull_idle_timeout: seconds; 0 or less is never.
    own_spec: the profile brought a whole spec of its own.
    """

    kernels: Sequence[str] = ()
    default_kernel: str = ""
    cull_idle_timeout: int | None = None
    own_spec: bool = False

    @property
    def is_made(self) -> bool:
        """Whether it differs from everybody's."""
        return (
            bool(self.kernels or self.default_kernel)
            or self.cull_idle_timeout is not None
            or self.own_spec
        )

    def applied_to(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """A gateway's spec with this choice in it."""
        result = dict(spec)
        if self.kernels:
            result["kernels"] = list(self.kernels)
            # Everybody's default may not be among them.
            if result.get("defaultKernel") not in self.kernels:
                result.pop("defaultKernel", None)
        if self.default_kernel:
            result["defaultKernel"] = self.default_kernel
        if self.cull_idle_timeout is not None:
            result["cullIdleTimeout"] = self.cull_idle_timeout
        return result


def refuse_unless_enforceable(mode: str, choice: Choice) -> None:
    """Raise ProfileError where a profile's choice would bind nobody.

    Callers of a shared gateway are told apart by user and server; which profile a server was
    started with it can't know from anybody but the client.
    """
    if mode != "per-user" and choice.is_made:
        raise ProfileError(
            "This profile sets gateway_kernels, gateway_default_kernel, gateway_cull_idle_timeout "
            f"or gateway_spec, and its gateway_mode is {mode!r}: such limits hold with a "
            "gateway of one's own only. The administrator sets gateway_mode: per-user beside them, "
            "or restricts the kernels of all by the setting gateway.kernels."
        )


def name(user: str, server: str, *, named_servers: str, choice: Choice) -> str:
    """The name of the gateway that a user's server uses.

    named_servers: "shared" or "separate". A server whose profile made a choice has one for itself
    in any case: another server's choice must not change what this one offers.
    """
    return user_gateway_name(user, server if _is_separate(named_servers, choice) else None)


def resource(
    user: str,
    server: str,
    namespace: str,
    spec: Mapping[str, Any],
    *,
    named_servers: str,
    choice: Choice,
    now: datetime,
) -> Object:
    """The JupyterGateway to apply.

    spec: as for everybody, from the settings.
    now: of the start, which shows in the resource. So that one that is just being looked at by
    who removes unused gateways has changed by it, and stays.
    """
    labels = {kinds.LABEL_MANAGED_BY: kinds.SPAWNER, kinds.LABEL_OWNER: safe_label(user)}
    annotations = {kinds.ANNOTATION_STARTED: timestamps.microseconds(now)}
    metadata: Object = {
        "name": name(user, server, named_servers=named_servers, choice=choice),
        "namespace": namespace,
        "labels": labels,
        "annotations": annotations,
    }
    if _is_separate(named_servers, choice):
        labels[kinds.LABEL_SERVER] = safe_label(server)
        annotations[kinds.ANNOTATION_SERVER] = server
    return {
        "apiVersion": kinds.JUPYTER_GATEWAYS.api_version,
        "kind": kinds.JUPYTER_GATEWAYS.kind,
        "metadata": metadata,
        "spec": {**choice.applied_to(spec), "owner": user},
    }


def is_ours(gateway: Object) -> bool:
    """Whether a spawner made this gateway."""
    labels: Object = gateway["metadata"].get("labels") or {}
    return labels.get(kinds.LABEL_MANAGED_BY) == kinds.SPAWNER


@dataclass(frozen=True)
class Readiness:
    """How far a gateway is: `message` says what it waits for, or why it won't come up."""

    ready: bool
    failed: bool
    message: str


def readiness(gateway: Object | None) -> Readiness:
    """What a gateway's status says of its present spec; None: it is gone."""
    if gateway is None or kinds.is_deleting(gateway):
        return Readiness(False, True, "The gateway was deleted.")
    observed = kinds.status_of(gateway).get("observedGeneration", 0)
    if observed < gateway["metadata"].get("generation", 0):
        return Readiness(False, False, "The service has not taken it up yet.")
    accepted = kinds.condition(gateway, kinds.ACCEPTED) or {}
    if accepted.get("status") == "False":
        return Readiness(False, True, str(accepted.get("message")))
    available = kinds.condition(gateway, kinds.AVAILABLE) or {}
    message = str(available.get("message", ""))
    return Readiness(available.get("status") == "True", False, message)


def _is_separate(named_servers: str, choice: Choice) -> bool:
    return named_servers == "separate" or choice.is_made

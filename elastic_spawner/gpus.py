"""Takes every GPU out of a notebook pod's manifest.

Works on the serialized manifest, the last form before the API server: whatever asked for the GPU
(a profile, an extra container, `extra_pod_config`, a hook), it is found here. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from fnmatch import fnmatchcase
from typing import Any

from hub_service.pods.podtemplate import NO_DEVICES

_CONTAINER_LISTS = ("initContainers", "containers")


def without_gpus(
    pod_spec: dict[str, Any],
    *,
    resources: Sequence[str],
    runtime_classes: Sequence[str],
    resource_claims: bool,
) -> tuple[dict[str, Any], list[str]]:
    """A pod's spec with no GPU in it, and what was taken out.

    pod_spec: the `spec` of a serialized V1Pod; it is not changed.
    resources, runtime_classes: names to take out, `*` as wildcard (`nvidia.com/*`).
    resource_claims: take out dynamic resource claims too, since what device a claim is for
    can't be seen in the pod.

    Returns (spec, removed); `removed` has one phrase for each request taken out, for people.
    Idempotent: a second call removes nothing.
    """
    spec = deepcopy(pod_spec)
    removed: list[str] = []
    for list_name in _CONTAINER_LISTS:
        for container in spec.get(list_name) or []:
            where = f"container {container.get('name', '?')}"
            removed += _strip_resources(container.get("resources"), resources, where)
            if resource_claims and (container.get("resources") or {}).pop("claims", None):
                removed.append(f"resource claims of {where}")
            _hide_devices(container)
    removed += _strip_resources(spec.get("resources"), resources, "the pod")
    if resource_claims:
        for claim in spec.pop("resourceClaims", None) or []:
            removed.append(f"resource claim {claim.get('name', '?')}")
    runtime_class = spec.get("runtimeClassName")
    if runtime_class and _matches(runtime_class, runtime_classes):
        del spec["runtimeClassName"]
        removed.append(f"runtime class {runtime_class}")
    return spec, removed


def _strip_resources(
    requirements: dict[str, Any] | None, patterns: Sequence[str], where: str
) -> list[str]:
    taken: dict[str, Any] = {}
    for kind in ("requests", "limits"):
        quantities = (requirements or {}).get(kind) or {}
        for name in [name for name in quantities if _matches(name, patterns)]:
            taken[name] = quantities.pop(name)
    return [f"{name}: {amount} of {where}" for name, amount in sorted(taken.items())]


def _hide_devices(container: dict[str, Any]) -> None:
    others = [e for e in container.get("env") or [] if e.get("name") != NO_DEVICES["name"]]
    container["env"] = [*others, dict(NO_DEVICES)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)

"""Reading pod templates: which container is the kernel's, which labels are meant, how many GPUs.

Pure, on the plain dict of a template: {"metadata": {...}, "spec": {...}}. Nothing here changes
what it is given.
"""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from hub_service.kinds import COMPONENT_KERNEL, Object

# Resource names that count as a GPU.
GPU_RESOURCES = ("nvidia.com/gpu*", "nvidia.com/mig-*", "amd.com/gpu*", "gpu.intel.com/*")

# Read by NVIDIA's container runtime, which without it shows all GPUs of the node to a container
# whose image says so, as CUDA's images do.
NO_DEVICES = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}

# What isn't a device, of what a container may ask for.
_NO_DEVICE = ("cpu", "memory", "ephemeral-storage", "hugepages-*")

# Fields of a pod's metadata; any other text there (`app: x`) is meant as a label.
_METADATA_FIELDS = frozenset(
    {
        "annotations", "creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp",
        "finalizers", "generateName", "generation", "labels", "managedFields", "name",
        "namespace", "ownerReferences", "resourceVersion", "selfLink", "uid",
    }
)  # fmt: skip

# The hub's own pods carry this label; network policies and the hub's watch select by it.
_HUBS_OWN_LABEL = ("component", "singleuser-server")

_QUANTITY = re.compile(
    r"[+-]?(\d+(\.\d*)?|\.\d+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?(\d+(\.\d*)?|\.\d+))?"
)


class Metadata(NamedTuple):
    """What a pod takes from its template's metadata, and sentences about what it doesn't."""

    labels: dict[str, str]
    annotations: dict[str, str]
    left_out: list[str]


def metadata(template: Object) -> Metadata:
    """Labels and annotations of a template.

    Texts written directly into the metadata (`app: x`) are meant as labels and become such. Names,
    owners and the like belong to one pod and can't come from a template.
    """
    given: Object = template.get("metadata") or {}
    labels: dict[str, str] = {}
    left_out = []
    for field, value in given.items():
        if field in ("labels", "annotations", "creationTimestamp"):
            continue
        if field not in _METADATA_FIELDS and isinstance(value, str):
            labels[field] = value
        else:
            left_out.append(f"metadata.{field} is left out: it can't come from a template")
    labels.update(given.get("labels") or {})
    key, value = _HUBS_OWN_LABEL
    if labels.get(key) == value:
        del labels[key]
        left_out.append(f"the label {key}: {value} is left out: it marks the hub's notebook pods")
    return Metadata(labels, dict(given.get("annotations") or {}), left_out)


def containers(template: Object) -> list[Object]:
    """The template's containers, possibly none."""
    return list((template.get("spec") or {}).get("containers") or [])


def kernel_index(template: Object) -> int:
    """Position of the kernel's container: the one named `kernel`, else the first."""
    for position, container in enumerate(containers(template)):
        if container.get("name") == COMPONENT_KERNEL:
            return position
    return 0


class InvalidQuantity(NamedTuple):
    """A field of a template, and what it holds instead of a quantity."""

    field: str
    value: object


def invalid_quantity(template: Object) -> InvalidQuantity | None:
    """The first amount among the containers' resources that is no quantity, if there is one."""
    for kind in ("containers", "initContainers"):
        for container in (template.get("spec") or {}).get(kind) or []:
            for part in ("limits", "requests"):
                amounts = (container.get("resources") or {}).get(part) or {}
                for name, amount in amounts.items():
                    if not _QUANTITY.fullmatch(str(amount)):
                        where = f"{kind}[{container.get('name')}].resources.{part}[{name}]"
                        return InvalidQuantity(where, amount)
    return None


def corrections(template: Object) -> list[str]:
    """Sentences about what of a template is not taken as it is."""
    corrected = list(metadata(template).left_out)
    pod_spec: Object = template.get("spec") or {}
    policy = pod_spec.get("restartPolicy")
    if policy not in (None, "Never"):
        corrected.append(
            f"restartPolicy {policy} is taken as Never: a kernel whose process ended has lost its "
            "variables, and its user is told so instead"
        )
    if pod_spec.get("automountServiceAccountToken"):
        corrected.append("automountServiceAccountToken is taken as false")
    return corrected


def gpus(template: Object) -> int:
    """GPUs that a pod of this template asks of the scheduler, of whatever make.

    As the scheduler counts: the containers together, or the greediest init container if that is
    more; an init container that keeps running counts with the containers.
    """
    together = sum(_gpus_of(container) for container in containers(template))
    before = 0
    for container in (template.get("spec") or {}).get("initContainers") or []:
        if container.get("restartPolicy") == "Always":
            together += _gpus_of(container)
        else:
            before = max(before, _gpus_of(container))
    return max(together, before)


def asks_for_a_device(container: Object) -> bool:
    """Whether a container asks for a device of any make, by a resource's name or by a claim."""
    claims = (container.get("resources") or {}).get("claims")
    return bool(claims) or any(
        not any(fnmatchcase(name, pattern) for pattern in _NO_DEVICE) for name in _wanted(container)
    )


def _wanted(container: Object) -> dict[str, Any]:
    resources: Object = container.get("resources") or {}
    return {**(resources.get("requests") or {}), **(resources.get("limits") or {})}


def _gpus_of(container: Object) -> int:
    return sum(
        int(amount)
        for name, amount in _wanted(container).items()
        if any(fnmatchcase(name, pattern) for pattern in GPU_RESOURCES) and str(amount).isdigit()
    )

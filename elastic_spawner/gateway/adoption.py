"""Kernels that another process of the gateway has started, found again. Pure.

The JupyterKernel and its Secret are the record: whose a kernel is, what it was started from, where
it is, what it does and how to talk to it. Whoever has read both can serve the kernel.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import Any

from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.keys import FIELDS
from hub_service import kinds
from hub_service.kinds import Object, Phase
from hub_service.names import kernel_name


class UnusableError(Exception):
    """A kernel that nobody can ever use, with the reason in a sentence."""


@dataclass(frozen=True)
class Found:
    """What a JupyterKernel says about itself.

    kernel_name: what Jupyter knows its spec as; interrupt_mode: message or signal.
    secret: name of the Secret with its connection file, in `namespace`.
    activity: what was reported of it last; {} for nothing.
    """

    kernel_id: str
    namespace: str
    owner: Identity
    kernel_name: str
    interrupt_mode: str
    secret: str
    incarnation: int
    activity: Object


def is_served_by(kernel: Object, gateway: tuple[str, str]) -> bool:
    """Whether it is a kernel of the gateway of that (namespace, name), and stays."""
    kernel_id = kinds.spec_of(kernel).get("kernelID", "")
    return (
        kinds.gateway_reference(kernel) == gateway
        and kernel_name(kernel_id) == kinds.name_of(kernel)
        and not kinds.is_deleting(kernel)
        and kinds.status_of(kernel).get("phase") != Phase.CULLED
    )


def read(kernel: Object) -> Found:
    """What there is to know of a kernel. UnusableError for one that is over for its user."""
    spec, status = kinds.spec_of(kernel), kinds.status_of(kernel)
    annotations = kinds.annotations_of(kernel)
    if kinds.ANNOTATION_SHUT_DOWN in annotations:
        raise UnusableError("its user has shut it down")
    if status.get("phase") == Phase.REFUSED and not spec.get("incarnation"):
        raise UnusableError("its start was refused, and nobody was left to tell")
    notebook = spec.get("notebook")
    return Found(
        kernel_id=spec["kernelID"],
        namespace=kinds.namespace_of(kernel),
        owner=Identity(
            spec.get("owner", ""),
            server=spec.get("server"),
            notebook=(notebook["namespace"], notebook["name"]) if notebook else None,
        ),
        kernel_name=annotations.get(kinds.ANNOTATION_KERNEL_NAME)
        or spec.get("kernelSpecName")
        or "",
        interrupt_mode=annotations.get(kinds.ANNOTATION_INTERRUPT_MODE) or "message",
        secret=spec.get("connectionSecret") or kinds.name_of(kernel),
        incarnation=int(spec.get("incarnation") or 0),
        activity=status.get("activity") or {},
    )


def keys_of(secret: Object) -> dict[str, str]:
    """A kernel's keys, from its Secret; see keys.py. UnusableError where it has none."""
    try:
        content: Any = json.loads(base64.b64decode(secret["data"][kinds.CONNECTION_KEY]))
        return {"key": content["key"]} | {name: content[name] for name in FIELDS if name in content}
    except (KeyError, ValueError, TypeError) as error:
        raise UnusableError("its Secret holds no connection file") from error

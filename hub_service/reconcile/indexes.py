"""Indexes that the reflectors of several kinds share."""

from __future__ import annotations

from hub_service.kinds import Object, gateway_reference
from hub_service.kube import Key

BY_GATEWAY = "gateway"


def gateway_of(item: Object) -> str | None:
    """Index of JupyterKernels and JupyterNotebooks by gateway, as the text of its key."""
    reference = gateway_reference(item)
    return str(Key(*reference)) if reference else None

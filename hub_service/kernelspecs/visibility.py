"""Who may see and start kernels of a JupyterKernelSpec. Pure.

The gateway offers a spec to those only, and the service admits kernels of it for those only: a
kernel's resource may be made without a gateway.
"""

from __future__ import annotations

from collections.abc import Collection

from hub_service.kinds import Object, name_of, spec_of


def is_limited(spec: Object) -> bool:
    """Whether a spec is for some only."""
    return spec_of(spec).get("visibility") is not None


def needs_groups(spec: Object, user: str) -> bool:
    """Whether the user's groups decide."""
    return is_limited(spec) and user not in _listed(spec, "users")


def may_use(spec: Object, user: str | None, groups: Collection[str]) -> bool:
    """Whether somebody may see a spec and start kernels of it.

    user: as the hub writes the name; None for nobody in particular. groups: of the hub.
    """
    if not is_limited(spec):
        return True
    if user is not None and user in _listed(spec, "users"):
        return True
    return not set(groups).isdisjoint(_listed(spec, "groups"))


def refusal(spec: Object, user: str | None) -> str:
    """Why somebody's kernel of the spec is refused, and whom to ask, for people."""
    return (
        f"The kernel {spec_of(spec).get('displayName') or name_of(spec)!r} is not offered to "
        f"{user or 'everybody'}: its spec names the groups and users that it is for "
        "(spec.visibility). Choose another kernel, or ask your administrator."
    )


def _listed(spec: Object, field: str) -> list[str]:
    return list((spec_of(spec).get("visibility") or {}).get(field) or [])

"""What kernels say of themselves, for clients that come before theirs answers."""

from __future__ import annotations

from typing import Any

from hub_service import kinds, podtemplate

# A spec's name and an image: kernels that have both in common say the same.
_Kind = tuple[str, str]


class Introductions:
    """Contents of kernel_info_replies."""

    def __init__(self) -> None:
        self._known: dict[_Kind, dict[str, Any]] = {}

    def learn(self, spec_name: str, resource: kinds.Object | None, content: dict[str, Any]) -> None:
        """A kernel has answered."""
        if "language_info" in content:
            self._known[_kind(spec_name, resource)] = content

    def like(self, spec_name: str, resource: kinds.Object | None) -> dict[str, Any] | None:
        """What another one of the same spec and image said; None where none has."""
        known = self._known.get(_kind(spec_name, resource))
        return None if known is None else dict(known)


def _kind(spec_name: str, resource: kinds.Object | None) -> _Kind:
    template = kinds.spec_of(resource or {}).get("template") or {}
    containers = podtemplate.containers(template)
    kernel = containers[podtemplate.kernel_index(template)] if containers else {}
    return spec_name, kernel.get("image", "")

"""What kernels say of themselves, for clients that come before theirs answers. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hub_service import kinds
from hub_service.pods import podtemplate

# A spec's name and an image: kernels that have both in common say the same.
_Kind = tuple[str, str]
_PROTOCOL = "5.3"
_EXTENSIONS = {"python": ".py", "r": ".r", "julia": ".jl"}


class Introductions:
    """Contents of kernel_info_replies."""

    def __init__(self) -> None:
        self._known: dict[_Kind, dict[str, Any]] = {}

    def learn(self, spec_name: str, resource: kinds.Object | None, content: dict[str, Any]) -> None:
        """A kernel has answered."""
        if "language_info" in content:
            self._known[_kind(spec_name, resource)] = content

    def of(
        self, spec_name: str, resource: kinds.Object | None, language: Callable[[], str]
    ) -> dict[str, Any]:
        """What another one of the same spec and image said; or else no more than the language."""
        known = self._known.get(_kind(spec_name, resource))
        return minimal_introduction(language()) if known is None else dict(known)


def minimal_introduction(language: str) -> dict[str, Any]:
    """Content of a kernel_info_reply that says no more than the language."""
    return {
        "status": "ok",
        "protocol_version": _PROTOCOL,
        "implementation": language,
        "implementation_version": "",
        "language_info": {
            "name": language,
            "version": "",
            "mimetype": f"text/x-{language.lower()}",
            "file_extension": _EXTENSIONS.get(language.lower(), ".txt"),
        },
        "banner": "The kernel is starting.",
        "help_links": [],
    }


def _kind(spec_name: str, resource: kinds.Object | None) -> _Kind:
    template = kinds.spec_of(resource or {}).get("template") or {}
    containers = podtemplate.containers(template)
    kernel = containers[podtemplate.kernel_index(template)] if containers else {}
    return spec_name, kernel.get("image", "")

"""Whether a kernel is of a spec that its owner may use, as the service knows specs and groups."""

from __future__ import annotations

from collections.abc import Callable, Collection

from hub_service.kernelspecs import visibility
from hub_service.kinds import Object, namespace_of, spec_of
from hub_service.kube import Key, Reflector


class Visibility:
    """`specs`: a copy of them; `spec_namespace`: where those of a namespace's kernels are."""

    def __init__(self, specs: Reflector, spec_namespace: Callable[[str], str]) -> None:
        self._specs = specs
        self._spec_namespace = spec_namespace

    def refusal(self, kernel: Object, groups: Collection[str]) -> str | None:
        """Why its owner, who is in these groups, may not have a kernel; None where they may."""
        fields = spec_of(kernel)
        namespace = self._spec_namespace(namespace_of(kernel))
        spec = self._specs.store.get(Key(namespace, fields.get("kernelSpecName") or ""))
        if spec is None or visibility.may_use(spec, fields.get("owner"), groups):
            return None
        return visibility.refusal(spec, fields.get("owner"))

"""The rules for a kernel's end, from copies of what they are written in."""

from __future__ import annotations

from collections.abc import Callable

from hub_service.culling import Policy, Rules
from hub_service.culling import policy as policies
from hub_service.kinds import Object, gateway_reference, namespace_of, spec_of
from hub_service.known_groups import KnownGroups
from hub_service.kube import Key, Reflector


class Policies:
    """`rules`: the settings'. `spec_namespace`: where the specs of a namespace's kernels are."""

    def __init__(
        self,
        *,
        rules: Rules,
        groups: KnownGroups,
        gateways: Reflector,
        kernel_specs: Reflector,
        templates: Reflector,
        spec_namespace: Callable[[str], str],
    ) -> None:
        self._rules = rules
        self._groups = groups
        self._gateways = gateways
        self._kernel_specs = kernel_specs
        self._templates = templates
        self._spec_namespace = spec_namespace

    def of(self, kernel: Object) -> Policy | None:
        """The rules for a kernel; None while they aren't known, as the hub tells no groups."""
        groups = self._groups_of(kernel)
        if groups is None:
            return None
        reference = gateway_reference(kernel)
        return policies.of_kernel(
            kernel,
            spec=self._kernel_specs.store.get(self._spec_key(kernel)),
            template=self._template(kernel),
            gateway=self._gateways.store.get(Key(*reference)) if reference else None,
            groups=groups,
            rules=self._rules,
        )

    def _groups_of(self, kernel: Object) -> frozenset[str] | None:
        if not self._rules.groups:
            return frozenset()
        known = self._groups.current
        return None if known is None else known.names_of(spec_of(kernel).get("owner") or "")

    def _spec_key(self, kernel: Object) -> Key:
        namespace = self._spec_namespace(namespace_of(kernel))
        return Key(namespace, spec_of(kernel).get("kernelSpecName") or "")

    def _template(self, kernel: Object) -> Object | None:
        named = spec_of(kernel).get("kernelTemplate")
        return self._templates.store.get(Key(named["namespace"], named["name"])) if named else None

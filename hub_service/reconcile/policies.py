"""The rules for a kernel's end, from copies of what they are written in."""

from __future__ import annotations

from collections.abc import Callable

from hub_service.culling import Policy, Rules
from hub_service.culling import policy as policies
from hub_service.hub.known_groups import KnownGroups
from hub_service.kinds import Object, gateway_reference, namespace_of, spec_of, uid_of
from hub_service.kube import Key, Reflector, key_of
from hub_service.reconcile.kernelspecs import BY_TEMPLATE

_MOST_KNOWN = 1000


class Policies:
    """`rules`: the settings'. `spec_namespace`: where the specs of a namespace's kernels are.

    `kernels` needs the index BY_TEMPLATE.
    """

    def __init__(
        self,
        *,
        rules: Rules,
        groups: KnownGroups,
        kernels: Reflector,
        gateways: Reflector,
        kernel_specs: Reflector,
        templates: Reflector,
        spec_namespace: Callable[[str], str],
    ) -> None:
        self._rules = rules
        self._groups = groups
        self._kernels = kernels
        self._gateways = gateways
        self._kernel_specs = kernel_specs
        self._templates = templates
        self._spec_namespace = spec_namespace
        self._known: dict[object, Policy] = {}

    def of(self, kernel: Object) -> Policy | None:
        """The rules for a kernel; None while they aren't known, as the hub tells no groups."""
        groups = self._groups_of(kernel)
        if groups is None:
            return None
        reference = gateway_reference(kernel)
        spec = self._kernel_specs.store.get(self._spec_key(kernel))
        template = self._template(kernel)
        gateway = self._gateways.store.get(Key(*reference)) if reference else None
        has_gpu = policies.has_gpu(kernel)
        own = spec_of(kernel).get("cullIdleTimeout")
        # Thousands of kernels are of the same few rules.
        of = (own, *map(_version, (spec, template, gateway)), groups, has_gpu)
        if of not in self._known:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            self._known[of] = policies.of_kernel(
                kernel,
                spec=spec,
                template=template,
                gateway=gateway,
                groups=groups,
                rules=self._rules,
            )
        return self._known[of]

    def kernels_of_spec(self, key: Key, old: Object | None, new: Object | None) -> list[Key]:
        """Which kernels a JupyterKernelSpec's change concerns: all of its own, if its rules did."""
        if _same_rules(old, new):
            return []
        return [key_of(kernel) for kernel in self._kernels.store if self._spec_key(kernel) == key]

    def kernels_of_template(self, key: Key, old: Object | None, new: Object | None) -> list[Key]:
        """The same of a JupyterKernelTemplate."""
        if _same_rules(old, new):
            return []
        return [key_of(kernel) for kernel in self._kernels.store.by_index(BY_TEMPLATE, str(key))]

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


def _version(item: Object | None) -> tuple[str, str] | None:
    return (uid_of(item), item["metadata"]["resourceVersion"]) if item else None


def _same_rules(old: Object | None, new: Object | None) -> bool:
    return spec_of(old or {}).get("culling") == spec_of(new or {}).get("culling")

"""Kernelspecs from JupyterKernelSpec resources: every read looks at the watch's copy.

A spec that is added, changed or removed in the cluster is so for JupyterLab's next request; no
file, no cache of Enterprise Gateway's and no restart is involved.
"""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.gateway_resource import GatewayResource
from elastic_spawner.gateway.identity import Identity
from hub_service import kinds
from hub_service.kernelspecs import parameters, visibility
from hub_service.kernelspecs.kernelspec import (
    KernelSpecError,
    KernelTemplate,
    kernel_template,
    kernelspec_json,
    set_values,
    template_reference,
)
from hub_service.kernelspecs.parameters import ParameterError
from hub_service.kinds import Object
from hub_service.kube import ApiError, Reflector
from hub_service.pods import podtemplate

# Reads the JupyterKernelTemplate of a namespace and name. ApiError.
ReadTemplate = Callable[[str, str], Awaitable[Object]]

PROCESS_PROXY_CLASS = "elastic_spawner.gateway.proxy.KernelProxy"


class _Offer(NamedTuple):
    """A spec, or a variant of it: what its display name ends with, and what it has chosen."""

    spec: Object
    title: str
    values: Mapping[str, str]


class SpecCatalog:
    """The specs that a gateway offers, read from its watch caches.

    namespace: of the specs; gateway: its own resource; specs, templates: caches of the namespace.
    read_template: for templates of other namespaces, which are read when they are needed; the
    gateway has no right to do so unless that namespace's administrator gives it one.
    """

    def __init__(
        self,
        namespace: str,
        gateway: GatewayResource,
        specs: Reflector,
        templates: Reflector,
        read_template: ReadTemplate,
    ) -> None:
        self._namespace = namespace
        self._gateway = gateway
        self._specs = specs
        self._templates = templates
        self._read_template = read_template
        self._may_use: Callable[[Object], bool] = lambda _: True

    def seen_by(self, caller: Identity) -> SpecCatalog:
        """The same, of the specs that a caller may see and use."""
        theirs = copy.copy(self)
        theirs._may_use = lambda spec: visibility.may_use(spec, caller.name, caller.groups)
        return theirs

    def names(self) -> list[str]:
        """Names of the specs on offer, in alphabetical order."""
        return sorted(self._offered())

    def default_name(self) -> str:
        """The spec of a start that names none: the gateway's default, or the first on offer.

        Where nothing is on offer, the name of Jupyter's own default.
        """
        names = self.names()
        wanted = self._gateway.current.default_kernel
        if wanted in names or (wanted and not names):
            return wanted
        return names[0] if names else "python3"

    def get(self, name: str) -> Object:
        """The JupyterKernelSpec, of a variant too; KernelError 404 where it isn't on offer."""
        return self._find(name).spec

    def model(self, name: str) -> dict[str, Any]:
        """One spec as Jupyter's kernelspec API has it. Raises KernelError as `get`."""
        found = self._find(name)
        return {"name": name, "spec": kernelspec_json(found.spec, found.title), "resources": {}}

    def models(self) -> dict[str, Any]:
        """The whole answer to a request for the list."""
        names = self.names()
        return {
            "default": self.default_name(),
            "kernelspecs": {name: self.model(name) for name in names},
        }

    def declared_variables(self, name: str) -> list[str]:
        """Variables that a client may set: the spec's own with a value, and its parameters'."""
        spec = self.get(name)
        variables = kinds.spec_of(spec).get("env") or []
        own = [variable["name"] for variable in variables if "valueFrom" not in variable]
        return own + parameters.variables(spec)

    def cull_idle_timeout(self, name: str) -> int | None:
        """The spec's own time-out in seconds, None where it has none."""
        timeout = kinds.spec_of(self.get(name)).get("cullIdleTimeout")
        return None if timeout is None else int(timeout)

    def before_cull(self, name: str) -> Object | None:
        """What the spec names to be run in its kernels before a cull, as it has it."""
        return kinds.spec_of(self.get(name)).get("beforeCull")

    def encryption(self, name: str) -> str | None:
        """How messages of the spec's kernels are encrypted; None: not."""
        encryption = kinds.spec_of(self.get(name)).get("encryption")
        return None if encryption in (None, "none") else str(encryption)

    def template_of(self, name: str) -> tuple[str, str] | None:
        """(namespace, name) of the JupyterKernelTemplate that the spec names, if any."""
        return template_reference(self.get(name))

    async def pod_template(self, name: str, environment: Mapping[str, str]) -> KernelTemplate:
        """The pod template of a new kernel, with `environment` set in the kernel's container.

        What of `environment` belongs to the spec's parameters is checked and carried out.
        Raises KernelError: 404 as `get`, 422 where no kernel can be started from the spec or a
        parameter's value isn't allowed.
        """
        found = self._find(name)
        template, forbidden = await self._template(template_reference(found.spec))
        # What was chosen by the variant's name goes before what the notebook server always sends.
        values = {**environment, **found.values}
        try:
            result = kernel_template(found.spec, template, forbidden=forbidden, values=values)
        except KernelSpecError as error:
            raise KernelError(422, "InvalidKernelSpec", str(error)) from error
        except ParameterError as error:
            title = kernelspec_json(found.spec)["display_name"]
            raise KernelError(422, "ParameterNotAllowed", f"{title}: {error}") from error
        others = environment.keys() - set(parameters.variables(found.spec))
        pod = result.template
        container = pod["spec"]["containers"][podtemplate.kernel_index(pod)]
        set_values(container, {variable: environment[variable] for variable in sorted(others)})
        return result

    def _find(self, name: str) -> _Offer:
        offered = self._offered()
        if name not in offered:
            known = ", ".join(sorted(offered)) or "none"
            raise KernelError(
                404, "NoSuchKernelSpec", f"There is no kernel {name!r} here; there are: {known}."
            )
        return offered[name]

    def _offered(self) -> dict[str, _Offer]:
        """What is on offer, by name: specs and their variants."""
        wanted = self._gateway.current.kernels
        variants: dict[str, _Offer] = {}
        specs: dict[str, _Offer] = {}
        for spec in filter(self._may_use, self._specs.store):
            base = kinds.name_of(spec)
            if not wanted or base in wanted:
                specs[base] = _Offer(spec, "", {})
            for variant in parameters.variants(spec):
                name = base + variant.suffix
                if not wanted or base in wanted or name in wanted:
                    variants[name] = _Offer(spec, variant.title, variant.values)
        return variants | specs

    async def _template(self, reference: tuple[str, str] | None) -> tuple[Object | None, bool]:
        """The template of that namespace and name, and whether it may not be read."""
        if reference is None:
            return None, False
        if reference[0] == self._namespace:
            return self._templates.store.get(reference), False
        try:
            return await self._read_template(*reference), False
        except ApiError as error:
            if error.status in (403, 404):
                return None, error.status == 403
            raise KernelError(
                502,
                "ClusterRefused",
                f"JupyterKernelTemplate {'/'.join(reference)} can't be read: {error.message}. "
                "Try again.",
            ) from error


class ResourceKernelSpecManager(KernelSpecManager):
    """What Enterprise Gateway asks for kernelspecs; `catalog` is set before it is asked."""

    catalog: SpecCatalog

    def find_kernel_specs(self) -> dict[str, str]:
        """Names of the specs; none has a folder."""
        return dict.fromkeys(self.catalog.names(), "")

    def get_all_specs(self) -> dict[str, Any]:
        """Specs by name."""
        return {
            name: {"resource_dir": "", "spec": self.catalog.model(name)["spec"]}
            for name in self.catalog.names()
        }

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        """One spec, with the process proxy that Enterprise Gateway is to start it by."""
        try:
            spec = self.catalog.model(kernel_name)["spec"]
        except KernelError as error:
            raise NoSuchKernel(kernel_name) from error
        metadata = {"process_proxy": {"class_name": PROCESS_PROXY_CLASS, "config": {}}}
        return KernelSpec(resource_dir="", **{**spec, "metadata": metadata})

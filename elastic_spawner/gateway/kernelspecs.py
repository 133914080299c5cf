"""Kernelspecs from JupyterKernelSpec resources: every read looks at the watch's copy.

A spec that is added, changed or removed in the cluster is so for JupyterLab's next request; no
file, no cache of Enterprise Gateway's and no restart is involved.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from jupyter_client.kernelspec import KernelSpec, KernelSpecManager, NoSuchKernel

from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.gateway_resource import GatewayResource
from hub_service import kinds, podtemplate
from hub_service.kernelspec import (
    KernelSpecError,
    kernel_template,
    kernelspec_json,
    template_reference,
)
from hub_service.kinds import Object
from hub_service.kube import ApiError, Reflector

# Reads the JupyterKernelTemplate of a namespace and name. ApiError.
ReadTemplate = Callable[[str, str], Awaitable[Object]]

PROCESS_PROXY_CLASS = "elastic_spawner.gateway.proxy.KernelProxy"


class SpecCatalog:
    """The specs that a gateway offers, read from its watch caches.

    namespace: the gateway's; gateway: its own resource; specs, templates: caches of the namespace.
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

    def names(self) -> list[str]:
        """Names of the specs on offer, in alphabetical order."""
        return sorted(
            name for spec in self._specs.store if self._offers(name := kinds.name_of(spec))
        )

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
        """The JupyterKernelSpec; KernelError 404 where it isn't there or isn't on offer."""
        spec = self._specs.store.get((self._namespace, name))
        if spec is None or not self._offers(name):
            known = ", ".join(self.names()) or "none"
            raise KernelError(
                404, "NoSuchKernelSpec", f"There is no kernel {name!r} here; there are: {known}."
            )
        return spec

    def model(self, name: str) -> dict[str, Any]:
        """One spec as Jupyter's kernelspec API has it. Raises KernelError as `get`."""
        return {"name": name, "spec": kernelspec_json(self.get(name)), "resources": {}}

    def models(self) -> dict[str, Any]:
        """The whole answer to a request for the list."""
        names = self.names()
        return {
            "default": self.default_name(),
            "kernelspecs": {name: self.model(name) for name in names},
        }

    def declared_variables(self, name: str) -> list[str]:
        """Names of the variables that the spec gives a value of its own."""
        variables = kinds.spec_of(self.get(name)).get("env") or []
        return [variable["name"] for variable in variables if "valueFrom" not in variable]

    def cull_idle_timeout(self, name: str) -> int | None:
        """The spec's own time-out in seconds, None where it has none."""
        timeout = kinds.spec_of(self.get(name)).get("cullIdleTimeout")
        return None if timeout is None else int(timeout)

    def template_of(self, name: str) -> tuple[str, str] | None:
        """(namespace, name) of the JupyterKernelTemplate that the spec names, if any."""
        return template_reference(self.get(name))

    async def pod_template(self, name: str, environment: dict[str, str]) -> Object:
        """The pod template of a new kernel, with `environment` set in the kernel's container.

        Raises KernelError: 404 as `get`, 422 where no kernel can be started from the spec.
        """
        spec = self.get(name)
        template, forbidden = await self._template(template_reference(spec))
        try:
            result = kernel_template(spec, template, forbidden=forbidden).template
        except KernelSpecError as error:
            raise KernelError(422, "InvalidKernelSpec", str(error)) from error
        container = result["spec"]["containers"][podtemplate.kernel_index(result)]
        kept = [entry for entry in container.get("env") or [] if entry["name"] not in environment]
        # First, so that the spec's own variables can refer to them; with `$` doubled, so that
        # Kubernetes does not take a user's text for such a reference.
        container["env"] = [
            {"name": variable, "value": value.replace("$", "$$")}
            for variable, value in environment.items()
        ] + kept
        return result

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

    def _offers(self, name: str) -> bool:
        kernels = self._gateway.current.kernels
        return not kernels or name in kernels


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

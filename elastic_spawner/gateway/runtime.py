"""What the gateway's parts share while it runs: settings, the cluster, watch caches, the hub."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from elastic_spawner.gateway.adoption import is_served_by
from elastic_spawner.gateway.authentication import Authenticator, HubAuthenticator
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.gateway_resource import GatewayResource
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.kernel_resource import gateway_selector
from elastic_spawner.gateway.kernelspecs import SpecCatalog
from elastic_spawner.gateway.reporting import ActivityReporter
from elastic_spawner.gateway.settings import GatewaySettings, SettingsError
from hub_service import kinds
from hub_service.kube import ApiError, Cluster, Reflector
from hub_service.namespaces import namespace_of_server

log = logging.getLogger(__name__)

_SYNC_TIMEOUT = 60.0
_BY_NAME = "name"


@dataclass(frozen=True)
class Runtime:
    """Handed to managers and handlers; made by `running`.

    gateway: the JupyterGateway that is served; kernels: its JupyterKernels; specs, templates: of
    the specs' namespace; catalog: the specs that it offers; namespaces: those of users, where
    kernels are made there; stopping: set once this process is about to end, and its kernels are to
    go on without it.
    """

    settings: GatewaySettings
    cluster: Cluster
    gateway: GatewayResource
    kernels: Reflector
    specs: Reflector
    templates: Reflector
    catalog: SpecCatalog
    authenticator: Authenticator
    reporter: ActivityReporter
    namespaces: Reflector | None = None
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _watching: list[asyncio.Task[None]] = field(default_factory=list)

    @property
    def caches(self) -> tuple[Reflector, ...]:
        """All watches."""
        users = () if self.namespaces is None else (self.namespaces,)
        return (self.gateway.cache, self.kernels, self.specs, self.templates, *users)

    @property
    def is_synced(self) -> bool:
        """Whether every cache has its first list."""
        return all(cache.is_synced for cache in self.caches)

    def watch(self) -> None:
        """Begin to fill the caches, and keep them current."""
        self._watching.extend(asyncio.create_task(cache.run()) for cache in self.caches)

    async def watch_broken(self) -> None:
        """Wait until a watch ends before it is to, and raise what it ended with."""
        ended, _ = await asyncio.wait(self._watching, return_when=asyncio.FIRST_COMPLETED)
        for watch in ended:
            watch.result()

    async def stop_watching(self) -> None:
        """End all watches."""
        for watch in self._watching:
            watch.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    @property
    def is_stopping(self) -> bool:
        """Whether this process is about to end."""
        return self.stopping.is_set()

    def serves(self, kernel: kinds.Object) -> bool:
        """Whether it is a kernel of this gateway, and stays."""
        return is_served_by(kernel, (self.settings.namespace, self.settings.name))

    @property
    def start_timeout(self) -> float:
        """Seconds from a kernel's container running to its first answer."""
        return self.gateway.current.start_timeout or self.settings.start_timeout

    @property
    def answer_after(self) -> float:
        """Seconds after which a request for a kernel that still starts is answered; may be 0."""
        said = self.gateway.current.answer_after
        return self.settings.answer_after if said is None else said

    @property
    def start_grace(self) -> float:
        """Seconds after which a starting kernel ends that no client is connected to."""
        return self.gateway.current.grace or self.settings.grace

    async def caller(self, authorization: str | None) -> Identity:
        """The caller behind an Authorization header, if the gateway is theirs to use.

        Raises KernelError: as Authenticator.authenticate, and 403 to who isn't its owner.
        """
        caller = await self.authenticator.authenticate(authorization)
        owner = self.gateway.current.owner
        if owner is not None and not caller.is_service and caller.name != owner:
            raise KernelError(
                403, "NotTheOwner", f"This gateway is {owner}'s own: {caller.name} can't use it."
            )
        return caller

    def namespace_of_kernels(self, owner: Identity) -> str:
        """Where a kernel of that owner is made: beside their notebook, or beside the gateway."""
        if self.namespaces is None or owner.notebook is not None:
            return self.settings.namespace
        found = namespace_of_server(self.namespaces.store, owner.name, owner.server)
        # One whose server was there before there were namespaces for each has none.
        return found or self.settings.namespace

    def insist(self, what: str, call: Callable[[], Awaitable[object]]) -> None:
        """Make a call to the cluster in the background, and again for a while where it fails.

        what: names it in the log. An object that is gone ends it as well as success does.
        """
        task = asyncio.create_task(_insist(what, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def finish_background(self) -> None:
        """Wait for the calls handed to `insist`."""
        while self._tasks:
            await asyncio.gather(*self._tasks)


@asynccontextmanager
async def running(settings: GatewaySettings) -> AsyncIterator[Runtime]:
    """Connect to the cluster, fill the caches and keep them current until the end of the block.

    Raises TimeoutError, naming the kind, when the API server does not give a first list, and
    SettingsError where there is no such JupyterGateway.
    """
    async with Cluster.from_environment() as cluster:
        namespace = settings.namespace

        kernels = Reflector(
            cluster,
            kinds.JUPYTER_KERNELS,
            None if settings.user_namespaces else namespace,
            label_selector=gateway_selector(settings.name),
            indexers={_BY_NAME: kinds.name_of},
        )

        async def report(name: str, activity: dict[str, Any]) -> None:
            body = {"status": {"activity": activity}}
            for kernel in kernels.store.by_index(_BY_NAME, name):
                await cluster.merge_patch(
                    kinds.JUPYTER_KERNELS,
                    kinds.namespace_of(kernel),
                    name,
                    body,
                    subresource="status",
                )

        async def read_template(template_namespace: str, name: str) -> kinds.Object:
            return await cluster.get(kinds.JUPYTER_KERNEL_TEMPLATES, template_namespace, name)

        specs = Reflector(cluster, kinds.JUPYTER_KERNEL_SPECS, settings.spec_namespace)
        templates = Reflector(cluster, kinds.JUPYTER_KERNEL_TEMPLATES, settings.spec_namespace)
        gateway = GatewayResource(
            Reflector(
                cluster,
                kinds.JUPYTER_GATEWAYS,
                namespace,
                field_selector=f"metadata.name={settings.name}",
            ),
            settings.service_name,
        )
        hub = (
            HubAuthenticator(settings.hub_api_url, settings.service_name)
            if settings.hub_api_url
            else None
        )
        runtime = Runtime(
            settings=settings,
            cluster=cluster,
            gateway=gateway,
            kernels=kernels,
            specs=specs,
            templates=templates,
            catalog=SpecCatalog(settings.spec_namespace, gateway, specs, templates, read_template),
            authenticator=Authenticator(gateway.caller, hub),
            reporter=ActivityReporter(report),
            namespaces=(
                Reflector(cluster, kinds.NAMESPACES, None, label_selector=kinds.LABEL_OWNER)
                if settings.user_namespaces
                else None
            ),
        )
        runtime.watch()
        try:
            await asyncio.gather(*(cache.synced(_SYNC_TIMEOUT) for cache in runtime.caches))
            if gateway.offer is None:
                raise SettingsError(
                    f"ELASTIC_GATEWAY_NAME={settings.name!r}: there is no JupyterGateway of that "
                    f"name in the namespace {namespace}"
                )
            yield runtime
        finally:
            await runtime.finish_background()
            await runtime.reporter.close()
            await runtime.stop_watching()
            runtime.authenticator.close()


async def _insist(what: str, call: Callable[[], Awaitable[object]]) -> None:
    for delay in (0.2, 1.0, 5.0, 15.0, None):
        try:
            await call()
        except ApiError as error:
            if error.status == 404:
                return
            log.warning("%s: %s; %s", what, error, "giving up" if delay is None else "trying again")
        else:
            return
        if delay is not None:
            await asyncio.sleep(delay)

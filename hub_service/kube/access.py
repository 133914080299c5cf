"""The way to an API server: where it is, who asks, and the connections to it.

kubernetes_asyncio reads kubeconfigs and a pod's own credentials, and refreshes tokens. The rest of
it is left aside.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import os
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import aiohttp

from hub_service.kube.connections import proxy, session

if TYPE_CHECKING:
    from kubernetes_asyncio.client import Configuration

_LIBRARY = "kubernetes_asyncio"


class ConfigurationError(Exception):
    """No usable way to the API server: neither a pod's own nor a kubeconfig."""


class Access:
    """One API server as this process reaches it.

    watches: the session for watches, where they have one of their own; proxy: on the way there, or
    None; server_hostname: what the server's certificate is for, where that isn't the host of its
    URL.
    """

    def __init__(
        self,
        configuration: Configuration,
        session: aiohttp.ClientSession,
        watches: aiohttp.ClientSession | None = None,
    ) -> None:
        self.session = session
        self.watches = watches or session
        self.proxy = proxy(configuration)
        self.server_hostname: str | None = configuration.tls_server_name or None
        self._configuration = configuration

    def url(self, path: str) -> str:
        """The whole of a URL."""
        return f"{self._configuration.host}{path}"

    async def authorization(self) -> dict[str, str]:
        """The headers that say who asks: none where a certificate does."""
        token = (await self._configuration.auth_settings()).get("BearerToken")
        return {"Authorization": token["value"]} if token else {}

    @property
    def routing(self) -> dict[str, Any]:
        """What aiohttp is told with each request."""
        return {"proxy": self.proxy, "server_hostname": self.server_hostname}


@asynccontextmanager
async def from_environment() -> AsyncIterator[Access]:
    """Connect as a pod does, or by the kubeconfig that KUBECONFIG names (default ~/.kube).

    The pod's own way is taken where KUBERNETES_SERVICE_HOST is set and KUBECONFIG is not.
    Raises ConfigurationError. Nothing is asked of the server yet.
    """
    configuration_class, config = _library()
    configuration = configuration_class()
    refresh: asyncio.Task[None] | None = None
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST") and not os.environ.get("KUBECONFIG"):
            config.load_incluster_config(client_configuration=configuration)
        else:
            loader = await config.load_kube_config(
                config_file=os.environ.get("KUBECONFIG") or "~/.kube/config",
                client_configuration=configuration,
                persist_config=False,
            )
            # Ends by itself where the kubeconfig's credentials don't expire.
            refresh = asyncio.create_task(config.refresh_token(loader, configuration))
    except (config.ConfigException, OSError) as error:
        raise ConfigurationError(
            f"No way to a Kubernetes API server: {error} Set KUBECONFIG to a kubeconfig file, "
            "or run in a pod with a service account."
        ) from error
    # A watch keeps its connection, and there is one for each kind and namespace: they would leave
    # none to requests. The limit is for bursts of these.
    requests = session(configuration, limit=configuration.connection_pool_maxsize)
    watches = session(configuration, limit=0)
    try:
        yield Access(configuration, requests, watches)
    finally:
        await requests.close()
        await watches.close()
        if refresh is not None:
            refresh.cancel()
        # Connections whose making was cancelled end by themselves a moment later; the loop
        # should not be closed over them.
        await asyncio.sleep(0.05)


def _library() -> tuple[type[Configuration], ModuleType]:
    """The library's `Configuration`, and its package `config`.

    The library as a whole has a class for each kind of the API: 35 MB of memory, and half of a
    second or so at each start of a gateway. So it is imported without them, unless somebody has
    imported it already, or it is not built as expected.
    """
    if _LIBRARY not in sys.modules:
        try:
            with _hollow() as client:
                name = f"{_LIBRARY}.client.configuration"
                client.Configuration = importlib.import_module(name).Configuration  # type: ignore[attr-defined]
                client.ApiClient = None  # type: ignore[attr-defined]
                return client.Configuration, importlib.import_module(f"{_LIBRARY}.config")
        except (ImportError, AttributeError):
            pass
    client = importlib.import_module(f"{_LIBRARY}.client")
    return client.Configuration, importlib.import_module(f"{_LIBRARY}.config")


@contextmanager
def _hollow() -> Iterator[ModuleType]:
    """In the block, the library's packages import nothing by themselves; its `client`.

    What is imported in the block is forgotten afterwards: others who import it get the whole.
    """
    found = importlib.util.find_spec(_LIBRARY)
    if found is None or not found.submodule_search_locations:
        raise ImportError(f"{_LIBRARY} is not installed")
    folder = found.submodule_search_locations[0]
    library, client = ModuleType(_LIBRARY), ModuleType(f"{_LIBRARY}.client")
    library.__path__ = [folder]
    client.__path__ = [os.path.join(folder, "client")]
    sys.modules |= {_LIBRARY: library, client.__name__: client}
    try:
        yield client
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == _LIBRARY]:
            del sys.modules[name]

"""The gateway's application: Enterprise Gateway's, with our managers and handlers in it."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
from typing import Any, ClassVar

from enterprise_gateway.enterprisegatewayapp import EnterpriseGatewayApp
from tornado.httpserver import HTTPServer
from tornado.log import access_log
from tornado.web import RequestHandler
from traitlets.config import Config

# Enterprise Gateway loads the process proxy by name at the first start; ours is loaded here, so
# that the first kernel is no slower than the others.
from elastic_spawner.gateway import proxy as _proxy  # noqa: F401
from elastic_spawner.gateway.gateway_resource import Offer
from elastic_spawner.gateway.handlers import ROUTES, HealthHandler
from elastic_spawner.gateway.kernels import ElasticMappingKernelManager
from elastic_spawner.gateway.kernelspecs import ResourceKernelSpecManager
from elastic_spawner.gateway.oversize import MAX_LIMIT
from elastic_spawner.gateway.revocation import Revocations
from elastic_spawner.gateway.runtime import Runtime, running
from elastic_spawner.gateway.settings import GatewaySettings

# Seconds for starts whose clients wait, and for what is still to be written of kernels, when the
# process ends.
_ANSWER_WITHIN = 30.0
_WRITE_WITHIN = 3.0
# A request's body is a few names and variables, or the paths of notebooks.
_MAX_BODY = 1_000_000
_MAX_HEADERS = 64_000
_BODY_WITHIN = 10.0
_HEADERS_WITHIN = 60.0


class ElasticGatewayApp(EnterpriseGatewayApp):
    """Serves one JupyterGateway.

    What Enterprise Gateway would let the environment or a configuration file decide, and what
    does not fit kernels that belong to users (one token for all, its own culling, its list of
    forbidden users), is fixed here.
    """

    name = "elastic-gateway"
    description = "Jupyter Enterprise Gateway, with a Kubernetes resource for each kernel."
    classes: ClassVar = [ElasticMappingKernelManager, ResourceKernelSpecManager]

    runtime: Runtime
    gateway_settings: GatewaySettings

    def initialize(self, argv: list[str] | None = None) -> None:
        """Read settings and configuration. SettingsError, naming what is wrong.

        The managers are made by `start`, on the event loop.
        """
        self.gateway_settings = GatewaySettings.from_environment(os.environ)
        # Enterprise Gateway asks for the name of the user it runs as, who needn't have one here.
        os.environ.setdefault("EG_REMOTE_USER", "gateway")
        # Past EnterpriseGatewayApp: its initialize makes the managers and listens.
        super(EnterpriseGatewayApp, self).initialize(argv)
        self.update_config(_fixed(self.gateway_settings))

    def start(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        super(EnterpriseGatewayApp, self).start()
        for package in ("elastic_spawner", "hub_service"):  # as jupyter_server does with tornado's
            logging.getLogger(package).parent = self.log
        # Each kernel takes a dozen descriptors: all that this process may have.
        _, limit = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
        asyncio.run(self._serve())

    def init_configurables(self) -> None:
        """Make the managers and give them what they share."""
        super().init_configurables()
        self.kernel_spec_manager.catalog = self.runtime.catalog
        self.runtime.kernels.subscribe(self.kernel_manager.on_kernel_change)

    def init_webapp(self) -> None:
        """Make the web application."""
        super().init_webapp()
        self.web_app.settings.update(
            runtime=self.runtime,
            log=self.log,
            log_function=_log_request,
            websocket_max_message_size=MAX_LIMIT,
        )

    def _create_request_handlers(self) -> list[tuple[str, type[RequestHandler]]]:
        """Only our own: what is not listed there can't be reached."""
        return list(ROUTES)

    def _follow(self, offer: Offer) -> None:
        """What of the JupyterGateway must be set somewhere when it changes."""
        self.log_level = offer.log_level

    async def _serve(self) -> None:
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        async with running(self.gateway_settings) as self.runtime:
            self._follow(self.runtime.gateway.current)
            self.runtime.gateway.subscribe(self._follow)
            self.init_configurables()
            began = asyncio.get_running_loop().time()
            count = await self.kernel_manager.adopt_all()
            seconds = asyncio.get_running_loop().time() - began
            self.init_webapp()
            self.init_http_server()
            self.log.info(
                "serving %s on port %d, with %d kernels found in %.2f s",
                self.gateway_settings.name,
                self.port,
                count,
                seconds,
            )
            revocations = self._follow_revocations()
            await self._stopped(stopped)
            revocations.cancel()
            await self._leave()

    async def _stopped(self, stopped: asyncio.Event) -> None:
        """Wait until this process is asked to end.

        Raises what a watch has ended with: Kubernetes starts the container again then, where this
        process would go on without news of any kernel.
        """
        asked = asyncio.create_task(stopped.wait())
        broken = asyncio.create_task(self.runtime.watch_broken())
        await asyncio.wait({asked, broken}, return_when=asyncio.FIRST_COMPLETED)
        for task in (asked, broken):
            task.cancel()
        if broken.done():
            broken.result()

    def init_http_server(self) -> None:
        """Listen, with limits to what one client may take of the others' memory and sockets."""
        self.http_server = HTTPServer(
            self.web_app,
            max_body_size=_MAX_BODY,
            max_header_size=_MAX_HEADERS,
            body_timeout=_BODY_WITHIN,
            idle_connection_timeout=_HEADERS_WITHIN,
        )
        self.http_server.listen(self.port, self.ip)

    def _follow_revocations(self) -> asyncio.Task[None]:
        revocations = Revocations(
            self.runtime.authenticator, self.runtime.caller, self.kernel_manager.clients
        )
        revocations.follow(self.runtime.gateway.current)
        self.runtime.gateway.subscribe(revocations.follow)
        return asyncio.create_task(revocations.run())

    async def _leave(self) -> None:
        """End this process, and no kernel: another process of the gateway goes on with them.

        It is served on until everybody knows that this one is going, and has answered what it was
        asked. Only then do clients lose their websockets, and reconnect to another.
        """
        self.runtime.stopping.set()
        self.log.info("stopping; kernels go on")
        await asyncio.sleep(self.gateway_settings.leave_after)
        self.http_server.stop()
        await self.kernel_manager.stop_adopting()
        await self.kernel_manager.starts_answered(_ANSWER_WITHIN)
        await self.kernel_manager.send_clients_away()
        await self.runtime.reporter.flush(_WRITE_WITHIN)
        await self.http_server.close_all_connections()


def _log_request(handler: RequestHandler) -> None:
    """A line for each request, without its query; none for probes that are content."""
    status = handler.get_status()
    if isinstance(handler, HealthHandler) and status == 200:
        return
    milliseconds = 1000 * handler.request.request_time()
    access_log.info(
        "%d %s %s %.0f ms", status, handler.request.method, handler.request.path, milliseconds
    )


def _fixed(settings: GatewaySettings) -> Config:
    values: dict[str, dict[str, Any]] = {
        "EnterpriseGatewayApp": {
            "ip": "",
            "port": settings.port,
            "port_retries": 0,
            "base_url": "/",
            "auth_token": "",
            "list_kernels": True,
            "authorized_users": set(),
            "unauthorized_users": set(),  # by default `root`, a user name like any other
            "max_kernels": None,
            "max_kernels_per_user": -1,
            "inherited_envs": [],
            "client_envs": [],
            "kernel_headers": [],
            "impersonation_enabled": False,
            "availability_mode": None,
            "dynamic_config_interval": 0,
            "kernel_manager_class": "elastic_spawner.gateway.kernels.ElasticMappingKernelManager",
            "kernel_spec_manager_class": (
                "elastic_spawner.gateway.kernelspecs.ResourceKernelSpecManager"
            ),
        },
        "KernelSpecCache": {"cache_enabled": False},
        "KernelSessionManager": {"enable_persistence": False},
        "MappingKernelManager": {"cull_idle_timeout": 0},
    }
    return Config(values)

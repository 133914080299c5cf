"""The worker's process: runs reconciling and pages side by side until told to stop.

Started by `python -m hub_service`. It stops on SIGTERM, and when its standard input, a pipe from
its parent, is closed: it must not outlive the parent, or there would be two.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import signal
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from tornado.httpserver import HTTPServer
from tornado.web import Application

from hub_service import settings
from hub_service.api import answers, metrics
from hub_service.hub.client import HubClient
from hub_service.kinds import MANAGER
from hub_service.kube import Cluster, ConfigurationError
from hub_service.kube.identity import identity
from hub_service.settings import Settings, SettingsError
from hub_service.worker import Worker

log = logging.getLogger("hub_service")

EXIT_CONFIGURATION = 78
_FROM_THE_HUB = ("JUPYTERHUB_API_TOKEN", "JUPYTERHUB_API_URL", "JUPYTERHUB_SERVICE_PREFIX")


def read_settings(environment: Mapping[str, str]) -> Settings:
    """The settings of this process. Raises SettingsError naming what is missing or wrong."""
    text = environment.get(settings.ENVIRONMENT_VARIABLE)
    if not text:
        raise SettingsError(
            f"{settings.ENVIRONMENT_VARIABLE}: not set. elastic_spawner.configure sets it; without "
            "a hub, helm-values/standalone.yaml does."
        )
    parsed = settings.load(text)
    if not parsed.hub.enabled:
        return parsed
    missing = [name for name in _FROM_THE_HUB if not environment.get(name)]
    if missing:
        raise SettingsError(
            f"{', '.join(missing)}: not set. JupyterHub sets them where it starts the service: see "
            "elastic_spawner.configure; helm-values/service.yaml does in a Deployment of its own. "
            "Without a hub, set hub.enabled to false."
        )
    if parsed.hub.api_url is not None:
        return parsed
    if not parsed.service.external:
        raise SettingsError("hub.apiUrl: not set. elastic_spawner.configure sets it.")
    # In a pod of its own it reaches the hub as gateways do.
    url = environment["JUPYTERHUB_API_URL"]
    return parsed.model_copy(update={"hub": parsed.hub.model_copy(update={"api_url": url})})


async def run(config: Settings, environment: Mapping[str, str], name: str) -> None:
    """Serve, and reconcile while leading, until SIGTERM, SIGINT or the end of standard input.

    name: what this process is called where several compete.
    """
    stopping = _stopping()
    async with Cluster.from_environment() as cluster:
        token = _token(config, environment)
        hub = HubClient(environment["JUPYTERHUB_API_URL"], token) if config.hub.enabled else None
        worker = Worker(
            cluster,
            config,
            token,
            identity=name,
            servers_of=hub.servers_of if hub else None,
            tell=hub.tell_activity if hub else None,
            fetch_groups=hub.groups if hub else None,
        )
        pages = _pages(config, worker, environment)
        servers = [HTTPServer(pages, xheaders=True)]
        servers[0].listen(config.service.port)
        if config.service.metrics_port is not None:
            figures = answers.metrics_application(worker.metrics.rendered, metrics.CONTENT_TYPE)
            servers.append(HTTPServer(figures))
            servers[1].listen(config.service.metrics_port)
        log.info("listening on port %d, namespace %s", config.service.port, config.namespace)
        work = asyncio.create_task(worker.run())
        stop = asyncio.create_task(stopping.wait())
        try:
            await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            for server in servers:
                server.stop()
            stop.cancel()
            work.cancel()
            await asyncio.gather(work, stop, return_exceptions=True)
            for server in servers:
                await server.close_all_connections()
    log.info("stopped")


def _token(config: Settings, environment: Mapping[str, str]) -> str:
    """What gateways know this process by: the hub's token, or one of its own."""
    return environment["JUPYTERHUB_API_TOKEN"] if config.hub.enabled else secrets.token_hex(32)


def _pages(config: Settings, worker: Worker, environment: Mapping[str, str]) -> Application:
    if not config.hub.enabled:
        return answers.health_application(worker.is_ready)
    # Only here: without a hub, JupyterHub's modules are memory that nobody uses.
    from jupyterhub.services.auth import HubOAuth

    from hub_service.api import web

    return web.application(
        prefix=environment["JUPYTERHUB_SERVICE_PREFIX"],
        kernels=worker.kernels,
        covers=worker.covers,
        quotas=web.QuotaView(worker.groups, config.quota.policy, config.quota.rules),
        keeper=worker.keeper,
        ledger=worker.ledger.those_of if worker.ledger else None,
        is_ready=worker.is_ready,
        cookie_secret=hmac.digest(
            environment["JUPYTERHUB_API_TOKEN"].encode(), b"elastic service's cookies", "sha256"
        ),
        hub_auth=HubOAuth.instance(
            access_scopes={f"access:services!service={config.service.name}"}
        ),
    )


def _stopping() -> asyncio.Event:
    """Set when the process is asked to end."""
    event = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, event.set)

    def on_input() -> None:
        if not os.read(0, 4096):
            loop.remove_reader(0)
            event.set()

    if stat.S_ISFIFO(os.fstat(0).st_mode):
        loop.add_reader(0, on_input)
    return event


def main() -> int:
    """Run the worker; the exit status is EXIT_CONFIGURATION where trying again is no use."""
    try:
        config = read_settings(os.environ)
        logging.basicConfig(
            stream=sys.stderr,
            level=config.service.log_level,
            format="%(asctime)s %(levelname)s %(name)s: %(message)s",
        )
        folder = os.environ.get(settings.IDENTITY_FOLDER_VARIABLE)
        with identity(f"{MANAGER}-{config.namespace}", Path(folder) if folder else None) as name:
            asyncio.run(run(config, os.environ, name))
    except (SettingsError, ConfigurationError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - for whoever started it
        return EXIT_CONFIGURATION
    return 0


if __name__ == "__main__":
    sys.exit(main())

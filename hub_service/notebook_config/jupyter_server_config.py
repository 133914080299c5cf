"""What a notebook server does differently when its kernels run behind a gateway, each in a pod.

Delivered into the notebook's pod by whoever makes it; the image needs nothing installed. It runs
in that image's own Python: standard library and what comes with jupyter_server 2 or newer. A part
that does not fit the version found there is left out with a line in the log; the server starts in
any case, and is then a stock one in that respect.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

log = logging.getLogger("ServerApp")

# Bytes in one message. tornado's connections buffer 104857600 bytes, a message and a bit of the
# next one; by default they take messages of a tenth of that.
MAX_MESSAGE_SIZE = 100_000_000
# Tells the gateway what this server takes. To one that doesn't say, it sends no more than stock
# servers take.
SIZE_HEADER = "Elastic-Max-Message-Size"


def let_large_messages_pass(_: Any) -> None:
    """Outputs and other messages of up to MAX_MESSAGE_SIZE, in both directions."""
    import tornado.websocket
    from jupyter_server.gateway import connections
    from jupyter_server.services.kernels.websocket import KernelWebsocketHandler

    if not hasattr(connections, "tornado_websocket"):
        raise RuntimeError("its connections to a gateway are made in another way")

    class Websocket:
        """tornado.websocket for the connections to the gateway alone."""

        def __getattr__(self, name: str) -> Any:
            return getattr(tornado.websocket, name)

        def websocket_connect(self, request: Any, *args: Any, **kwargs: Any) -> Any:
            request.headers[SIZE_HEADER] = str(MAX_MESSAGE_SIZE)
            kwargs.setdefault("max_message_size", MAX_MESSAGE_SIZE)
            return tornado.websocket.websocket_connect(request, *args, **kwargs)

    connections.tornado_websocket = Websocket()
    # From the browser. Not by tornado_settings: what an image's own configuration has there is not
    # added to, but replaced.
    KernelWebsocketHandler.max_message_size = MAX_MESSAGE_SIZE


def leave_kernels_running(c: Any) -> None:
    """A server that stops leaves its kernels alone.

    It can't know whether its user stopped it or a node is drained; the hub does, and ends the
    kernels in the one case. Shutting down kernels in JupyterLab, one or all, is something else:
    a request for each of them.
    """
    from jupyter_server.gateway.managers import GatewayMappingKernelManager

    class KernelManager(GatewayMappingKernelManager):
        async def shutdown_all(self, now: bool = False) -> None:  # noqa: ARG002
            """Called when the server stops, and by nothing else."""
            self.log.info("%d kernels go on without this server", len(self._kernels))

    c.ServerApp.kernel_manager_class = KernelManager


def configure(c: Any) -> None:
    """Apply every part that this version of jupyter_server has room for."""
    parts: list[Callable[[Any], None]] = [let_large_messages_pass, leave_kernels_running]
    for part in parts:
        try:
            part(c)
        except Exception as error:  # noqa: BLE001 - whatever is wrong here, the server must start
            log.warning("elastic kernels: %s is not possible here: %r", part.__name__, error)


if os.environ.get("JUPYTER_GATEWAY_URL"):
    configure(get_config())  # type: ignore[name-defined]  # noqa: F821

"""What a notebook server is told about its gateway, as environment variables. Pure.

Read by jupyter_server's gateway client (`JUPYTER_GATEWAY_*`) and forwarded by it to the gateway
(`KERNEL_*`).
"""

from __future__ import annotations

# jupyter_server answers its own request this long after the gateway had to have answered.
_REQUEST_MARGIN = 10


def notebook_environment(
    *, user: str, gateway_url: str, token: str, start_timeout: int
) -> dict[str, str]:
    """The variables for one user's notebook server.

    user: the hub's user name, as it is.
    token: the server's own hub API token; the gateway asks the hub whose it is. KERNEL_USERNAME
    is a courtesy to tools that read it, and no proof of anything.
    start_timeout: seconds that the gateway may hold a request for a kernel. Not how long a start
    may take: the gateway answers the request before, with a kernel that is starting, and holds the
    websocket's messages for it, for as long as the start goes on.
    """
    return {
        "JUPYTER_GATEWAY_URL": gateway_url,
        "JUPYTER_GATEWAY_AUTH_TOKEN": token,
        "JUPYTER_GATEWAY_AUTH_SCHEME": "token",
        "KERNEL_USERNAME": user,
        "KG_HTTP_USER": user,
        # Three time-outs: of the kernel's first answer, of the request for it, of the connection.
        # jupyter_server raises the first two to fit each other, so both are set. The first is
        # forwarded to the gateway, where it can only shorten the gateway's own.
        "KERNEL_LAUNCH_TIMEOUT": str(start_timeout),
        "JUPYTER_GATEWAY_REQUEST_TIMEOUT": str(start_timeout + _REQUEST_MARGIN),
        "JUPYTER_GATEWAY_CONNECT_TIMEOUT": "10",
        # A gateway may be away for a while (an update, a node's restart). By default the notebook
        # server gives up after 5 tries, and what is then sent on the websocket, still open to
        # the browser, is dropped without a word. It reconnects for as long as it takes instead.
        "JUPYTER_GATEWAY_RETRY_INTERVAL": "0.5",
        "JUPYTER_GATEWAY_RETRY_INTERVAL_MAX": "1",
        "JUPYTER_GATEWAY_RETRY_MAX": "100000",
    }

"""A registry on the node's own loopback address, in a pod: what it answers is in the image's name.

Container runtimes speak plain HTTP to loopback addresses, so that nothing has to be set up.
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from hub_service.kinds import NAMESPACES, PODS, Object
from hub_service.kube import Cluster
from tests.integration.support import DEADLINE, reflecting

PORT = 15123
ADDRESS = f"127.0.0.1:{PORT}"

_PROGRAM = f"""
import http.server, json, time

class Registry(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.split("/")[2] if self.path.count("/") > 2 else ""
        if name == "slow":
            time.sleep(600)
        code = {{"none": 404, "secret": 403, "down": 503}}.get(name, 200)
        words = {{404: "MANIFEST_UNKNOWN", 403: "DENIED"}}.get(code, "UNAVAILABLE")
        body = json.dumps({{"errors": [{{"code": words}}]}}).encode()
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
    do_HEAD = do_GET

http.server.ThreadingHTTPServer(("127.0.0.1", {PORT}), Registry).serve_forever()
"""


_NAME = "registry"


@asynccontextmanager
async def serving(cluster: Cluster, image: str, pull_policy: str) -> AsyncIterator[str]:
    """Run it from an image that has Python; yields the name of its node.

    In a namespace of its own: where kernels run, no pod may use its node's network.
    """
    namespace = f"{_NAME}-{secrets.token_hex(3)}"
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": _NAME},
        "spec": {
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": _NAME,
                    "image": image,
                    "imagePullPolicy": pull_policy,
                    "command": ["python3", "-c", _PROGRAM],
                    "readinessProbe": {
                        "tcpSocket": {"host": "127.0.0.1", "port": PORT},
                        "periodSeconds": 1,
                    },
                }
            ],
        },
    }
    await cluster.create(NAMESPACES, None, {"metadata": {"name": namespace}})
    try:
        async with reflecting(cluster, PODS, namespace) as pods:
            await cluster.create(PODS, namespace, body)
            pod = await pods.wait_for((namespace, _NAME), _is_ready, DEADLINE)
            assert pod is not None
            yield str(pod["spec"]["nodeName"])
            # Its port is the node's: the next one could not have it before.
            await cluster.delete(PODS, namespace, _NAME, grace_period=0)
            await pods.wait_for((namespace, _NAME), lambda pod: pod is None, DEADLINE)
    finally:
        await cluster.delete(NAMESPACES, None, namespace)


def _is_ready(pod: Object | None) -> bool:
    statuses = pod["status"].get("containerStatuses") or [] if pod else []
    return bool(statuses) and all(status["ready"] for status in statuses)

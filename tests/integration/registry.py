"""A registry on the node's own loopback address, in a pod: what it answers is in the image's name.

Container runtimes speak plain HTTP to loopback addresses, so that nothing has to be set up.
"""

from __future__ import annotations

from hub_service.kinds import PODS, Object
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


NAME = "registry"


async def serve(cluster: Cluster, namespace: str, image: str, pull_policy: str) -> str:
    """Start it from an image that has Python; the name of its node, once it runs."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": NAME},
        "spec": {
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": NAME,
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
    async with reflecting(cluster, PODS, namespace) as pods:
        await cluster.create(PODS, namespace, body)
        pod = await pods.wait_for((namespace, NAME), _is_ready, DEADLINE)
    assert pod is not None
    return str(pod["spec"]["nodeName"])


def _is_ready(pod: Object | None) -> bool:
    statuses = pod["status"].get("containerStatuses") or [] if pod else []
    return bool(statuses) and all(status["ready"] for status in statuses)

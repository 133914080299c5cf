"""A registry on the node's own loopback address, in a pod: what it answers is in the image's name.

Container runtimes speak plain HTTP to loopback addresses, so that nothing has to be set up.
"""

from __future__ import annotations

from hub_service.kinds import PODS, Object
from hub_service.kube import Cluster
from tests.integration.support import Observed

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


async def serve(cluster: Cluster, observed: Observed, container: Object) -> str:
    """Start it in a container like that; the name of its node, once it runs."""
    body = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "registry"},
        "spec": {
            "hostNetwork": True,
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    **container,
                    "command": ["python3", "-c", _PROGRAM],
                    "readinessProbe": {
                        "tcpSocket": {"host": "127.0.0.1", "port": PORT},
                        "periodSeconds": 1,
                    },
                }
            ],
        },
    }
    await cluster.create(PODS, observed.namespace, body)
    pod = await observed.pod("registry", lambda pod: pod and _is_ready(pod))
    assert pod is not None
    return str(pod["spec"]["nodeName"])


def _is_ready(pod: Object) -> bool:
    statuses = pod["status"].get("containerStatuses") or []
    return bool(statuses) and all(status["ready"] for status in statuses)

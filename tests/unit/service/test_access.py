"""What of the Kubernetes library a process loads."""

import subprocess
import sys

_PROGRAM = """
import asyncio, sys
from hub_service.kube import Cluster

async def main():
    async with Cluster.from_environment():
        print(sum(name.startswith("kubernetes_asyncio") for name in sys.modules))

asyncio.run(main())
import kubernetes_asyncio
print(kubernetes_asyncio.client.CoreV1Api.__name__, kubernetes_asyncio.config.__name__)
"""


def test_classes_for_each_kind_are_not_loaded_and_there_for_others(tmp_path):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        '{"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],'
        ' "users": [{"name": "u", "user": {"token": "t"}}], "current-context": "x",'
        ' "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}'
    )
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={"KUBECONFIG": str(kubeconfig), "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == ["0", "CoreV1Api", "kubernetes_asyncio.config"]

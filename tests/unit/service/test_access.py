"""What of the Kubernetes library a process loads, and a client of it that is there already."""

import os
import subprocess
import sys

from kubernetes_asyncio import client, config

from hub_service.kube import Cluster

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


async def test_on_the_connections_of_another_client(api_server, thing):
    configuration = client.Configuration()
    await config.load_kube_config(os.environ["KUBECONFIG"], client_configuration=configuration)
    async with client.ApiClient(configuration) as other:
        await Cluster.of_client(other).create(thing, "ns", {"spec": {"text": "a"}})
    assert api_server.requests == [
        ("POST", "/apis/test.example/v1/namespaces/ns/things", {}, {"spec": {"text": "a"}})
    ]

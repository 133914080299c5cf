"""The service beside the hub, as docs/service.md says: it goes on while the hub is away."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import yaml

from demo.install import HUB_NAMESPACE, Images, Installation, kubectl
from demo.observe import kernels_of
from hub_service.kinds import condition, is_true, uid_of
from hub_service.kube.client import Cluster
from tests.e2e.support import House
from tests.z2jh import chart as by_chart
from tests.z2jh.chart import RELEASE, VALUES
from tests.z2jh.helm import helm

SERVICE = VALUES / "service.yaml"
EXTERNAL = VALUES / "external-service.yaml"
NAME = "elastic-service"
_PODS = "app.kubernetes.io/component=service"


@pytest.fixture
def beside(installation: Installation, images: Images) -> Iterator[Installation]:
    by_chart.install(images)
    values = yaml.safe_load(
        helm("get", "values", RELEASE, "--namespace", HUB_NAMESPACE, "-o", "yaml")
    )
    settings = values["custom"]["elastic"]
    documents = [one for one in yaml.safe_load_all(SERVICE.read_text()) if one]
    for document in documents:
        if document["kind"] == "ConfigMap":
            own = json.loads(document["data"]["ELASTIC_SETTINGS"])["service"]
            settings = {**settings, "service": {**settings.get("service", {}), **own}}
            document["data"]["ELASTIC_SETTINGS"] = json.dumps(settings)
        if document["kind"] == "Deployment":
            (container,) = document["spec"]["template"]["spec"]["containers"]
            container.update(image=images.name("hub"), imagePullPolicy=images.pull_policy)
    manifest = yaml.safe_dump_all(documents)
    kubectl("apply", "-f", "-", manifest=manifest)
    try:
        by_chart.install(images, more_values=[EXTERNAL])
        _wait_for(NAME)
        yield installation
    finally:
        by_chart.install(images)
        kubectl("delete", "-f", "-", manifest=manifest)


async def test_kernels_start_and_end_while_the_hub_is_away(
    beside: Installation, cluster: Cluster
) -> None:
    async with AsyncExitStack() as stack:
        ada = await House(beside, stack).open("ada")
        kernel = await ada.start_kernel("python-gpu")
        assert (await ada.run(kernel, "x = 41")).status == "ok"
        leader = _leader()

        kubectl("-n", HUB_NAMESPACE, "scale", "deployment/hub", "--replicas=0")
        kubectl("-n", HUB_NAMESPACE, "wait", "--for=delete", "pod", "-l", "component=hub",
                "--timeout=120s")  # fmt: skip
        second = await ada.start_kernel("python")
        assert (await ada.run(second, "print(6 * 7)")).text == "42\n"
        await ada.shut_down(second)
        # Whoever acts is gone at once; the other one takes over.
        kubectl("-n", HUB_NAMESPACE, "delete", "pod", leader, "--wait=false")
        third = await ada.start_kernel("python")
        assert (await ada.run(third, "print(7 * 7)")).text == "49\n"
        assert _leader() != leader
        assert (await ada.run(kernel, "print(x + 1)")).text == "42\n"
        found = await kernels_of(cluster, beside.namespace, "ada")
        assert len({uid_of(item) for item in found}) == 2
        assert all(is_true(item, "Admitted") for item in found), [
            condition(item, "Admitted") for item in found
        ]

        kubectl("-n", HUB_NAMESPACE, "scale", "deployment/hub", "--replicas=1")
        _wait_for("hub")
        listed = await ada.service("api/kernels")
        assert {item["id"] for item in listed} == {kernel, third}


def _leader() -> str:
    """The pod that the Lease names."""
    lease = kubectl("-n", "jupyter-users", "get", "lease", "elastic-hub-service", "-o", "json")
    holder = str(json.loads(lease)["spec"]["holderIdentity"])
    pods = kubectl("-n", HUB_NAMESPACE, "get", "pods", "-l", _PODS, "-o", "name").split()
    (leader,) = [name for pod in pods if holder.startswith(name := pod.removeprefix("pod/"))]
    return leader


def _wait_for(deployment: str) -> None:
    kubectl("-n", HUB_NAMESPACE, "rollout", "status", f"deployment/{deployment}",
            "--timeout=180s")  # fmt: skip

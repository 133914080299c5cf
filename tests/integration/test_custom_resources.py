"""What the API server accepts and refuses, and what kubectl shows."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import yaml

from demo.install import KubectlError, kubectl
from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    JUPYTER_KERNELS,
    JUPYTER_NOTEBOOKS,
    Object,
    Resource,
)
from hub_service.kube import ApiError, Cluster
from tests.integration.support import an_object

DOCUMENTS = [
    document
    for path in sorted((Path(__file__).parent / "documents").glob("*.yaml"))
    for document in yaml.safe_load_all(path.read_text())
]
KINDS = {
    resource.kind: resource
    for resource in (
        JUPYTER_GATEWAYS,
        JUPYTER_KERNELS,
        JUPYTER_KERNEL_SPECS,
        JUPYTER_KERNEL_TEMPLATES,
        JUPYTER_NOTEBOOKS,
    )
}
UUID = "0b2c3d4e-0000-4000-8000-000000000001"
KERNEL = {
    "owner": "a@b.org",
    "server": "",
    "kernelID": UUID,
    "kernelSpecName": "python",
    "gateway": {"name": "gw"},
    "connectionSecret": "s",
    "incarnation": 1,
    "template": {"spec": {"containers": [{"name": "kernel", "image": "x"}]}},
}


@pytest.mark.parametrize(
    "document", DOCUMENTS, ids=[f"{d['kind']} {d['metadata']['name']}" for d in DOCUMENTS]
)
async def test_peoples_own_documents_are_accepted_as_written(
    cluster: Cluster, namespace: str, document: Object
) -> None:
    kubectl(
        "create", "--validate=strict", "-n", namespace, "-f", "-", manifest=yaml.safe_dump(document)
    )
    stored = await cluster.get(KINDS[document["kind"]], namespace, document["metadata"]["name"])
    assert stored["spec"] == document["spec"]


@pytest.mark.parametrize(
    ("resource", "spec", "field"),
    [
        (JUPYTER_GATEWAYS, {"logLevel": "LOUD"}, "spec.logLevel"),
        (JUPYTER_GATEWAYS, {"cullIdleTimeout": "soon"}, "spec.cullIdleTimeout"),
        (JUPYTER_GATEWAYS, {"kernels": ["a"], "defaultKernel": "b"}, "spec.defaultKernel"),
        (JUPYTER_GATEWAYS, {"startTimeout": 1}, "spec.startTimeout"),
        (
            JUPYTER_GATEWAYS,
            {"cullIdleTimeout": 5, "culling": {"idleTimeout": 5}},
            "is the same as spec.cullIdleTimeout",
        ),
        (JUPYTER_KERNEL_SPECS, {"culling": {"idleTimeout": "60"}}, "spec.culling.idleTimeout"),
        (JUPYTER_KERNEL_SPECS, {"culling": {"warning": -1}}, "spec.culling.warning"),
        (JUPYTER_KERNEL_SPECS, {"culling": {"extension": 0}}, "spec.culling.extension"),
        (
            JUPYTER_KERNEL_SPECS,
            {"culling": {"idleTimeout": 60, "warning": 60}},
            "must be less than idleTimeout",
        ),
        (JUPYTER_KERNEL_TEMPLATES, {"culling": {"connected": "yes"}}, "spec.culling.connected"),
        (
            JUPYTER_KERNEL_TEMPLATES,
            {"culling": {"maxAge": 60, "warning": 90}},
            "must be less than maxAge",
        ),
        (JUPYTER_GATEWAYS, {"imagePullPolicy": "Sometimes"}, "spec.imagePullPolicy"),
        (JUPYTER_GATEWAYS, {"resources": {"limits": {"cpu": "much"}}}, "spec.resources.limits.cpu"),
        (JUPYTER_KERNEL_SPECS, {"interruptMode": "shout"}, "spec.interruptMode"),
        (JUPYTER_KERNEL_SPECS, {"env": [{"value": "x"}]}, "spec.env[0].name"),
        (JUPYTER_KERNEL_SPECS, {"env": [{"name": "A"}, {"name": "A"}]}, "spec.env[1]"),
        (JUPYTER_KERNEL_SPECS, {"command": "python"}, "spec.command"),
        (JUPYTER_KERNEL_SPECS, {"template": {}}, "spec.template.name"),
        (
            JUPYTER_KERNEL_SPECS,
            {"resources": {"limits": {"nvidia.com/gpu": "one"}}},
            "spec.resources.limits.nvidia.com/gpu",
        ),
        (JUPYTER_KERNEL_SPECS, {"sharedMemory": "much"}, "spec.sharedMemory"),
        (JUPYTER_KERNEL_SPECS, {"tolerations": [{"effect": "No"}]}, "spec.tolerations[0].effect"),
        (JUPYTER_KERNEL_SPECS, {"nodeSelector": {"gpu": True}}, "spec.nodeSelector.gpu"),
        (
            JUPYTER_KERNEL_SPECS,
            {"parameters": [{"name": "size", "variable": "PATH", "text": {}}]},
            "spec.parameters[0].variable",
        ),
        (
            JUPYTER_KERNEL_SPECS,
            {"parameters": [{"name": "size", "variable": "KERNEL_SIZE"}]},
            "must have exactly one of sizes, images, packages and text",
        ),
        (
            JUPYTER_KERNEL_TEMPLATES,
            {"template": {"spec": {"restartPolicy": "Maybe"}}},
            "spec.template.spec.restartPolicy",
        ),
        (
            JUPYTER_KERNEL_TEMPLATES,
            {"template": {"spec": {"containers": [{"image": "x"}]}}},
            "spec.template.spec.containers[0].name",
        ),
        (JUPYTER_KERNELS, {"kernelID": "../../x"}, "spec.kernelID"),
        (JUPYTER_KERNELS, {"owner": 7}, "spec.owner"),
        (JUPYTER_KERNELS, {"incarnation": -1}, "spec.incarnation"),
        (JUPYTER_KERNELS, {"gateway": {"namespace": "x"}}, "spec.gateway.name"),
        (JUPYTER_NOTEBOOKS, {"auth": {"mode": "maybe"}}, "spec.auth.mode"),
    ],
)
async def test_bad_values_are_refused_by_the_name_of_their_field(
    cluster: Cluster, namespace: str, resource: Resource, spec: Object, field: str
) -> None:
    with pytest.raises(ApiError) as refused:
        await cluster.create(resource, namespace, an_object(resource, "x", spec))
    assert refused.value.status == 422
    assert field in refused.value.message


async def test_a_gateways_name_must_do_for_its_service(cluster: Cluster, namespace: str) -> None:
    for name in ("1st", "a.b", "x" * 64):
        with pytest.raises(ApiError, match=r"metadata\.name"):
            await cluster.create(JUPYTER_GATEWAYS, namespace, an_object(JUPYTER_GATEWAYS, name, {}))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("owner", "mallory"),
        ("owner", None),
        ("server", "other"),
        ("kernelID", UUID.replace("1", "2")),
        ("kernelSpecName", "gpu"),
        ("connectionSecret", "other"),
        ("incarnation", 0),
    ],
)
async def test_what_may_not_change(
    cluster: Cluster, namespace: str, field: str, value: object
) -> None:
    await cluster.create(JUPYTER_KERNELS, namespace, an_object(JUPYTER_KERNELS, "x", KERNEL))
    with pytest.raises(ApiError) as refused:
        await cluster.merge_patch(JUPYTER_KERNELS, namespace, "x", {"spec": {field: value}})
    assert refused.value.status == 422
    assert f"spec.{field}" in refused.value.message


async def test_what_may_change(cluster: Cluster, namespace: str) -> None:
    bare = {key: KERNEL[key] for key in ("template",)}
    await cluster.create(JUPYTER_KERNELS, namespace, an_object(JUPYTER_KERNELS, "x", bare))
    await cluster.merge_patch(JUPYTER_KERNELS, namespace, "x", {"spec": KERNEL})  # set once
    changed = await cluster.merge_patch(
        JUPYTER_KERNELS, namespace, "x", {"spec": {"incarnation": 2, "cullIdleTimeout": 5}}
    )
    assert changed["spec"]["incarnation"] == 2


async def test_status_is_written_apart(cluster: Cluster, namespace: str) -> None:
    body = copy.deepcopy(an_object(JUPYTER_KERNELS, "x", KERNEL))
    body["status"] = {"phase": "Running"}
    created = await cluster.create(JUPYTER_KERNELS, namespace, body)
    assert "status" not in created
    activity = {"executionState": "busy", "lastActivity": "2030-01-01T00:00:00Z", "idleSince": None}
    written = await cluster.merge_patch(
        JUPYTER_KERNELS, namespace, "x", {"status": {"activity": activity}}, subresource="status"
    )
    assert written["status"]["activity"]["executionState"] == "busy"
    with pytest.raises(ApiError, match=r"status\.phase"):
        await cluster.merge_patch(
            JUPYTER_KERNELS, namespace, "x", {"status": {"phase": "Well"}}, subresource="status"
        )


@pytest.mark.usefixtures("definitions")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("jupyterkernel.spec", ["owner", "Can't be changed once set", "incarnation"]),
        ("jupyterkernel.status.activity", ["executionState", "idleSince", "starting, idle, busy"]),
        ("jk.spec.template", ["restartPolicy Never"]),
        ("jks.spec", ["displayName", "{connection_file}", "nvidia.com/gpu"]),
        ("jkt.spec.template", ["need not name an image"]),
        ("jg.spec", ["cullIdleTimeout", "0 or less means never", "DEBUG, INFO, WARNING"]),
        ("jn.spec.auth", ["enable, disable"]),
    ],
)
def test_kubectl_explains(path: str, words: list[str]) -> None:
    text = " ".join(kubectl("explain", path).split())
    for word in words:
        assert word in text
    assert "<no description>" not in text.lower()


async def test_kubectl_lists(cluster: Cluster, namespace: str) -> None:
    await cluster.create(JUPYTER_KERNELS, namespace, an_object(JUPYTER_KERNELS, "x", KERNEL))
    status = {
        "phase": "Running",
        "gpus": 1,
        "nodeName": "node-1",
        "activity": {"executionState": "idle", "idleSince": "2020-01-01T00:00:00Z"},
    }
    await cluster.merge_patch(
        JUPYTER_KERNELS, namespace, "x", {"status": status}, subresource="status"
    )
    head, row = kubectl("get", "jk", "-n", namespace).splitlines()
    assert head.split() == ["NAME", "USER", "SPEC", "PHASE", "GPU", "IDLE", "NODE", "AGE"]
    assert row.split()[:5] == ["x", "a@b.org", "python", "Running", "1"]
    assert row.split()[6] == "node-1"
    for name in ("jks", "jkt", "jg", "jn", "elastic"):
        kubectl("get", name, "-n", namespace)


@pytest.mark.usefixtures("definitions")
def test_unknown_fields_are_told() -> None:
    body = an_object(JUPYTER_GATEWAYS, "x", {"cullIdleTimeOut": 10})
    with pytest.raises(KubectlError, match="cullIdleTimeOut"):
        kubectl("create", "--dry-run=server", "-f", "-", manifest=yaml.safe_dump(body))

"""Homes on a real cluster: files that notebook and kernel share, and volumes that hold a kernel."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from demo.install import Images, kubectl
from hub_service import timestamps
from hub_service.kinds import (
    CLAIMS,
    NODES,
    PODS,
    Object,
    Resource,
    condition,
    name_of,
    spec_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster
from tests.integration.support import Observed

VOLUMES = Resource("", "v1", "persistentvolumes", "PersistentVolume")
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
ACCELERATOR = "example.org/gpu"
TAINT = {"key": "elastic-kernels/test", "effect": "NoSchedule"}
TOLERATION = {"key": TAINT["key"], "operator": "Exists"}
HOME = "/home/jovyan"


@pytest.fixture
def notebook(cluster: Cluster, namespace: str, images: Images) -> Callable[..., Any]:
    """Makes the pod of a hub's notebook server that has a claim as its home."""

    async def create(claim: str, owner: str = "alice", **spec: Any) -> Object:
        container = {
            "name": "notebook",
            "image": images.name("kernel"),
            "imagePullPolicy": images.pull_policy,
            "command": ["sleep", "3600"],
            "volumeMounts": [{"name": "home", "mountPath": HOME}],
            "securityContext": {"runAsUser": 1000},
        }
        body = {
            "metadata": {
                "name": f"jupyter-{owner}",
                "labels": {"app.kubernetes.io/component": "singleuser-server"},
                "annotations": {"hub.jupyter.org/username": owner},
            },
            "spec": {
                "containers": [container],
                "volumes": [{"name": "home", "persistentVolumeClaim": {"claimName": claim}}],
                "securityContext": {"fsGroup": 100},
                "terminationGracePeriodSeconds": 0,
                **spec,
            },
        }
        return await cluster.create(PODS, namespace, body)

    return create


@pytest.fixture
async def claim(cluster: Cluster, namespace: str) -> AsyncIterator[Callable[..., Any]]:
    """Makes a claim; bound to a volume that no node has to hold, unless `provisioned`."""

    volumes: list[str] = []

    async def create(name: str, mode: str, *, provisioned: bool = False, owner: str = "") -> None:
        annotations = {"hub.jupyter.org/username": owner} if owner else {}
        wanted = {"accessModes": [mode], "resources": {"requests": {"storage": "1Mi"}}}
        if not provisioned:
            volume = f"{namespace}-{name}"
            spec = {
                "capacity": {"storage": "1Mi"},
                "accessModes": [mode],
                "csi": {"driver": "none.example.org", "volumeHandle": volume},
                "claimRef": {"namespace": namespace, "name": name},
                "persistentVolumeReclaimPolicy": "Retain",
            }
            await cluster.create(VOLUMES, None, {"metadata": {"name": volume}, "spec": spec})
            volumes.append(volume)
            wanted |= {"volumeName": volume, "storageClassName": ""}
        body = {"metadata": {"name": name, "annotations": annotations}, "spec": wanted}
        await cluster.create(CLAIMS, namespace, body)

    yield create
    for volume in volumes:  # they go once the claims, with the namespace, are gone
        await cluster.delete(VOLUMES, None, volume)


def home_of(status: Object) -> Object | None:
    return condition({"status": status}, "HomeMounted")


async def test_a_kernel_has_the_files_beside_the_notebook_and_starts_there(
    running: Callable[..., Any],
    start: Callable[..., Any],
    observed: Observed,
    notebook: Callable[..., Any],
    claim: Callable[..., Any],
) -> None:
    await claim("claim-alice", "ReadWriteOnce", provisioned=True)
    await claim("datasets", "ReadWriteOnce", provisioned=True)
    pod = await notebook("claim-alice")
    await observed.pod(name_of(pod), lambda p: p and status_of(p).get("phase") == "Running")
    inside = ("-n", observed.namespace, "exec", name_of(pod), "--")
    made = f"umask 077; mkdir -p {HOME}/course && echo 'answer = 42' > {HOME}/course/helper.py"
    await asyncio.to_thread(kubectl, *inside, "sh", "-c", made)
    program = (
        "import helper, os; open('said', 'w').write(f'{helper.answer} {os.getcwd()}');"
        "import time; time.sleep(3600)"
    )
    shared = [{"name": "data", "mountPath": "/data", "claim": "datasets"}]
    async with running(sharedVolumes=shared, quota={"kernelsPerUser": 9}):
        command = {"command": ["python3", "-c", program]}
        kernel = await start(
            server="", container=command, workingDirectory=f"{HOME}/course", pod_spec={}
        )
        seen = await observed.phase(kernel, "Running")
        said = home_of(status_of(seen))
        assert said is not None
        assert (said["status"], said["reason"]) == ("True", "Mounted"), said
        own = spec_of(observed.pods_of(kernel)[0])
        assert own["securityContext"]["fsGroup"] == 100
        (data,) = [m for m in own["containers"][0]["volumeMounts"] if m["mountPath"] == "/data"]
        assert data["readOnly"] is True
        # The notebook reads what the kernel wrote, whose it is, too.
        wait = f"until [ -s {HOME}/course/said ]; do sleep 0.1; done; cd {HOME}/course;"
        text = await asyncio.to_thread(
            kubectl, *inside, "timeout", "30", "sh", "-c", f"{wait} cat said; stat -c ' %u' said"
        )
        assert text == f"42 {HOME}/course 1000\n"

        # Nobody else's kernel has them, and one that belongs to another server of hers has not.
        for others in ({"owner": "mallory", "server": ""}, {"server": "second"}):
            other = await start(**others)
            seen = await observed.kernel(other, home_of)
            said = home_of(status_of(seen))
            assert said is not None
            assert "No pod of the notebook server is there" in said["message"]
            volumes = spec_of(observed.pods_of(other)[0])["volumes"]
            assert "claim-alice" not in str(volumes)


async def test_a_volume_of_one_node_brings_the_kernel_there_or_says_why_not(
    running: Callable[..., Any],
    start: Callable[..., Any],
    observed: Observed,
    notebook: Callable[..., Any],
    claim: Callable[..., Any],
    cluster: Cluster,
) -> None:
    name = f"test-{uuid.uuid4().hex[:6]}"
    where, gpus = f"{name}-home", f"{name}-gpus"
    tolerant: Object = {"tolerations": [TOLERATION]}
    wants_gpu = {"resources": {"limits": {ACCELERATOR: 1}}}
    async with node(cluster, where), node(cluster, gpus, **{ACCELERATOR: "8"}):
        await claim("one", "ReadWriteOnce")
        await claim("many", "ReadWriteMany")
        await notebook("one", "alice", nodeName=where)
        await notebook("many", "bob", nodeName=where)

        async with running(quota={"kernelsPerUser": 9}):
            beside = await start("alice", server="", pod_spec=tolerant)
            free = await start("bob", server="", pod_spec=tolerant, container=wants_gpu)
            stuck = await start("alice", server="", pod_spec=tolerant, container=wants_gpu)

            assert await node_of(observed, beside) == where
            assert await node_of(observed, free) == gpus
            failed = await observed.phase(stuck, "Failed", seconds=15)
            said = condition(failed, "Failed") or {}
            assert said["reason"] == "HomeElsewhere"
            assert f"It is in use on {where}, where this kernel can't run" in said["message"]
            assert f"asks for 1 {ACCELERATOR}" in said["message"]
            assert observed.pods_made_for(stuck) == []

        async with running(quota={"kernelsPerUser": 9}, homes={"elsewhere": "without"}):
            alone = await start("alice", server="", pod_spec=tolerant, container=wants_gpu)
            assert await node_of(observed, alone) == gpus
            seen = await observed.kernel(alone, home_of)
            said = home_of(status_of(seen)) or {}
            assert (said["status"], said["reason"]) == ("False", "HomeElsewhere")
            assert "The kernel runs without your files" in said["message"]
        await leave(cluster, observed.namespace)


async def test_the_home_of_a_job_is_its_owners_claim_and_nobody_elses(
    running: Callable[..., Any],
    start: Callable[..., Any],
    observed: Observed,
    claim: Callable[..., Any],
) -> None:
    await claim("claim-alice", "ReadWriteMany", owner="alice")
    await claim("claim-mallory", "ReadWriteMany", owner="bob")
    jobs = {"claim": "claim-{username}", "subPath": "of/{username}"}
    async with running(homes={"jobs": jobs}):
        mine, theirs = await start("alice"), await start("mallory")
        seen = [home_of(status_of(await observed.kernel(k, home_of))) for k in (mine, theirs)]
    assert [said and said["status"] for said in seen] == ["True", "False"]
    (mount,) = [
        mount
        for mount in spec_of(observed.pods_of(mine)[0])["containers"][0]["volumeMounts"]
        if mount["mountPath"] == HOME
    ]
    assert mount["subPath"] == "of/alice"
    assert "somebody else's" in (seen[1] or {})["message"]


async def node_of(observed: Observed, kernel: Object) -> str:
    """Where the scheduler put a kernel's pod."""
    pod = await observed.pod(name_of(kernel), lambda p: p and spec_of(p).get("nodeName"))
    return str(spec_of(pod or {})["nodeName"])


@asynccontextmanager
async def node(cluster: Cluster, name: str, **more: str) -> AsyncIterator[None]:
    """A node that is in the API only."""
    now = datetime.now(UTC)
    room = {"cpu": "8", "memory": "32Gi", "pods": "20", **more}
    ready = {"type": "Ready", "status": "True", "reason": "Simulated", "message": "No machine."}
    times = dict.fromkeys(("lastHeartbeatTime", "lastTransitionTime"), timestamps.seconds(now))
    lease = {"holderIdentity": "test", "leaseDurationSeconds": 40}
    labels = {"kubernetes.io/hostname": name}
    body = {"metadata": {"name": name, "labels": labels}, "spec": {"taints": [TAINT]}}
    await cluster.create(NODES, None, body)
    try:
        await cluster.create(
            LEASES,
            "kube-node-lease",
            {
                "metadata": {"name": name},
                "spec": {**lease, "renewTime": timestamps.microseconds(now)},
            },
        )
        status = {"capacity": room, "allocatable": room, "conditions": [{**ready, **times}]}
        await cluster.merge_patch(NODES, None, name, {"status": status}, subresource="status")
        yield
    finally:
        for resource, where in ((NODES, None), (LEASES, "kube-node-lease")):
            with contextlib.suppress(ApiError):
                await cluster.delete(resource, where, name)


async def leave(cluster: Cluster, namespace: str) -> None:
    """Delete the pods of nodes that have no kubelet to do so."""
    for pod in (await cluster.list(PODS, namespace))["items"]:
        with contextlib.suppress(ApiError):
            await cluster.delete(PODS, namespace, name_of(pod), grace_period=0)

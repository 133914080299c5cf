"""Kernels in the queues of a real Kueue: KUEUE names its version (`make test-kueue`)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from demo.observe import GPU, gpus_of_the_cluster
from hub_service.kinds import KUEUE, WORKLOADS, Object, Resource, condition, name_of
from hub_service.kube import Cluster
from hub_service.sharing.kueue import LABEL_QUEUE
from hub_service.sharing.pods import gates
from tests.integration import kueue
from tests.integration.support import Observed, an_object, reflecting, says

CLUSTER_QUEUES = Resource(KUEUE, "v1beta1", "clusterqueues", "ClusterQueue")
LOCAL_QUEUES = Resource(KUEUE, "v1beta1", "localqueues", "LocalQueue")
FLAVORS = Resource(KUEUE, "v1beta1", "resourceflavors", "ResourceFlavor")


async def a_queue(cluster: Cluster, namespace: str, name: str, gpus: int) -> None:
    """A LocalQueue of so many GPUs."""
    covered = [GPU, "cpu", "memory"]
    amounts = zip(covered, (gpus, 100, "100Gi"), strict=True)
    quota = {
        "name": namespace,
        "resources": [{"name": resource, "nominalQuota": n} for resource, n in amounts],
    }
    spec = {
        "namespaceSelector": {},
        "resourceGroups": [{"coveredResources": covered, "flavors": [quota]}],
    }
    await cluster.create(FLAVORS, None, an_object(FLAVORS, namespace, {}))
    await cluster.create(CLUSTER_QUEUES, None, an_object(CLUSTER_QUEUES, namespace, spec))
    local = an_object(LOCAL_QUEUES, name, {"clusterQueue": namespace})
    await cluster.create(LOCAL_QUEUES, namespace, local)
    async with reflecting(cluster, LOCAL_QUEUES, namespace) as queues:
        await queues.wait_for((namespace, name), says("Active", "True"), 30)


async def test_kernels_wait_in_a_queue_of_kueues_and_say_for_what(
    cluster: Cluster,
    namespace: str,
    running: Any,
    start: Any,
    remove: Any,
    observed: Observed,
    tmp_path: Path,
) -> None:
    everything = await gpus_of_the_cluster(cluster)
    wants = {"resources": {"limits": {GPU: everything}}}
    async with kueue.running(cluster, os.environ["KUEUE"], namespace, tmp_path):
        try:
            await a_queue(cluster, namespace, "notebooks", everything)
            sections = {
                "sharing": {"fair": True, "kueue": {"enabled": True, "queue": "notebooks"}},
                "quota": {"kernelsPerUser": 9},
            }
            async with running(**sections):
                first = await observed.phase(await start("ada", container=wants), "Running")
                (pod,) = observed.pods_of(first)
                assert pod["metadata"]["labels"][LABEL_QUEUE] == "notebooks"

                second = await start("bob", container=wants)
                second = await observed.kernel(second, _waits_for_quota)
                print(condition(second, "Running"))
                (pod,) = observed.pods_of(second)
                assert gates(pod) == ["kueue.x-k8s.io/admission"]
                # One without a GPU is in no queue.
                plain = await observed.phase(await start("bob"), "Running")
                assert LABEL_QUEUE not in observed.pods_of(plain)[0]["metadata"]["labels"]

                await remove(name_of(first))
                second = await observed.phase(second, "Running")

                # Who stops a queue takes back what its kernels have.
                (workload,) = [
                    item
                    for item in (await cluster.list(WORKLOADS, namespace))["items"]
                    if name_of(second) in name_of(item)
                ]
                stop = {"spec": {"active": False}}
                await cluster.merge_patch(WORKLOADS, namespace, name_of(workload), stop)
                second = await observed.phase(second, "Failed")
                failed = condition(second, "Failed")
                print(failed)
                assert failed is not None
                assert failed["reason"] == "Preempted"
                assert "queue (Kueue)" in failed["message"]
                await remove(name_of(second))
                await remove(name_of(plain))
                await observed.pod(name_of(second), lambda pod: pod is None)
                await observed.pod(name_of(first), lambda pod: pod is None)
        finally:
            for resource in (CLUSTER_QUEUES, FLAVORS):
                await cluster.delete(resource, None, namespace)


def _waits_for_quota(status: Object) -> bool:
    said = condition({"status": status}, "Running") or {}
    return (
        said.get("reason") == "SchedulingGated"
        and "Waiting in the queue notebooks" in said["message"]
        and f"insufficient unused quota for {GPU}" in said["message"]
    )

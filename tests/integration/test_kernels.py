"""JupyterKernels on a real cluster: admission, one pod, status, restart, the end."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from demo.install import Images
from hub_service.kernels import kernel as kernels
from hub_service.kernels import kernel_status
from hub_service.kinds import (
    JUPYTER_KERNELS,
    PODS,
    SECRETS,
    Object,
    condition,
    is_deleting,
    is_true,
    name_of,
    status_of,
    uid_of,
)
from hub_service.kube import Cluster
from tests.integration.support import Observed


def reason(kernel: Object, kind: str) -> str | None:
    entry = condition(kernel, kind)
    return entry["reason"] if entry else None


async def test_a_kernel_gets_a_pod_and_a_status(
    running: Any, start: Any, observed: Observed
) -> None:
    async with running():
        kernel = await start("a@b.org", server="", gateway={"name": "shared"})
        kernel = await observed.phase(kernel, "Running")
    status = status_of(kernel)
    (pod,) = observed.pods_of(kernel)
    assert name_of(pod) == name_of(kernel) == status["podName"]
    assert status["podIP"] == pod["status"]["podIP"]
    assert status["nodeName"] == pod["spec"]["nodeName"]
    assert (status["incarnation"], status["gpus"]) == (0, 0)
    assert status["startTime"]
    assert {c["type"]: c["status"] for c in status["conditions"]} == {
        "Admitted": "True",
        "TemplateAccepted": "True",
        "HomeMounted": "False",  # no notebook server is there
        "Running": "True",
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "serviceAccount" not in str(pod["spec"].get("volumes"))
    labels = pod["metadata"]["labels"]
    assert labels["kubeflow.tkestack.io/owner"].startswith("a-b.org-")
    assert observed.pods_made_for(kernel) == [name_of(kernel)]


async def test_the_connection_file_is_where_the_command_looks(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "kernel-connected"},
        "stringData": {"connection.json": '{"transport": "tcp"}'},
    }
    await cluster.create(SECRETS, namespace, secret)
    read = "grep -q tcp /run/elastic/connection.json && test -n $KERNEL_ID$KERNEL_USERNAME"
    async with running():
        kernel = await start(
            name="kernel-connected",
            connectionSecret="kernel-connected",
            container={"command": ["sh", "-c", read]},
        )
        kernel = await observed.phase(kernel, "Succeeded", "Failed")
    assert status_of(kernel)["phase"] == "Succeeded"
    assert reason(kernel, "Succeeded") == "Completed"
    assert status_of(kernel)["exitCode"] == 0


async def test_the_quota_refuses_the_third(running: Any, start: Any, observed: Observed) -> None:
    async with running():
        first = await start()
        await observed.phase(first, "Running")
        second = await start()
        third = await start()
        third = await observed.phase(third, "Refused")
        other = await observed.phase(await start("bob"), "Running")
        assert other
        message = condition(third, "Admitted")["message"]  # type: ignore[index]
        assert message.startswith("Kernel quota reached: alice may have 2 kernels (the default), ")
        assert name_of(first) in message
        assert name_of(second) in message
        assert "Shut one down" in message
        assert observed.pods_made_for(third) == []


async def test_what_ends_gives_its_place_back(
    running: Any, start: Any, remove: Any, observed: Observed
) -> None:
    async with running(quota={"kernelsPerUser": 1}):
        ended = await start(container={"command": ["false"]})
        await observed.phase(ended, "Failed")
        deleted = await observed.phase(await start(), "Running", "Starting", "Pending")
        assert reason(await observed.phase(await start(), "Refused"), "Admitted") == "QuotaExceeded"
        await remove(name_of(deleted))
        await observed.gone(deleted)
        await observed.phase(await start(), "Running")


async def test_many_at_once_never_pass_the_quota(
    running: Any, start: Any, observed: Observed
) -> None:
    owners = [f"user-{n % 5}" for n in range(40)]
    async with running():
        asked = await asyncio.gather(
            *(start(owner, container={"image": "elastic/none:none"}) for owner in owners)
        )
        decided = await asyncio.gather(
            *(observed.kernel(item, lambda s: s.get("conditions")) for item in asked)
        )
    admitted = Counter(k["spec"]["owner"] for k in decided if kernels.is_admitted(k))
    assert admitted == dict.fromkeys(set(owners), 2)


async def test_deletion_takes_the_pod_along(
    running: Any, start: Any, remove: Any, observed: Observed
) -> None:
    async with running():
        kernel = await observed.phase(await start(), "Running")
        await remove(name_of(kernel))
        await observed.gone(kernel)
        await observed.pod(name_of(kernel), lambda pod: pod is None or is_deleting(pod), 2)
        await observed.pod(name_of(kernel), lambda pod: pod is None, 20)


async def test_a_pod_that_somebody_deletes_is_not_made_again(
    cluster: Cluster, namespace: str, running: Any, start: Any, remove: Any, observed: Observed
) -> None:
    async with running():
        kernel = await observed.phase(await start(), "Running")
        await remove(name_of(kernel), PODS)
        kernel = await observed.phase(kernel, "Failed")
        assert reason(kernel, "Failed") == "PodDeleted"
        await observed.pod(name_of(kernel), lambda pod: pod is None)
        # Its user restarts it: that is another pod.
        await cluster.merge_patch(
            JUPYTER_KERNELS, namespace, name_of(kernel), {"spec": {"incarnation": 1}}
        )
        kernel = await observed.kernel(
            kernel, lambda s: s.get("incarnation") == 1 and s.get("phase") == "Running"
        )
        assert status_of(kernel)["podName"] == f"{name_of(kernel)}-1"
        assert reason(kernel, "Failed") is None
    assert observed.pods_made_for(kernel) == [name_of(kernel), f"{name_of(kernel)}-1"]


async def test_a_restart_replaces_the_pod_and_keeps_the_place(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    async with running(quota={"kernelsPerUser": 1}):
        kernel = await observed.phase(await start(), "Running")
        await cluster.merge_patch(
            JUPYTER_KERNELS, namespace, name_of(kernel), {"spec": {"incarnation": 1}}
        )
        waiting = await start()  # could take the place, if it were given up
        kernel = await observed.kernel(
            kernel, lambda s: s.get("incarnation") == 1 and s.get("phase") == "Running"
        )
        await observed.pod(name_of(kernel), lambda pod: pod is None)
        await observed.phase(waiting, "Refused")
    assert [name_of(pod) for pod in observed.pods_of(kernel)] == [f"{name_of(kernel)}-1"]


async def test_an_end_says_why(running: Any, start: Any, observed: Observed) -> None:
    container = {
        "command": ["python3", "-c", "x = bytearray(10**9); print(len(x))"],
        "resources": {"limits": {"memory": "64Mi"}},
    }
    async with running():
        kernel = await observed.phase(await start(container=container), "Failed")
    assert reason(kernel, "Failed") == "OOMKilled"
    assert "limit of 64Mi" in condition(kernel, "Failed")["message"]  # type: ignore[index]
    assert status_of(kernel)["completionTime"]


async def test_what_the_template_asks_in_vain_is_reported(
    running: Any, start: Any, observed: Observed
) -> None:
    async with running():
        kernel = await start(pod_spec={"restartPolicy": "Always"}, container={"command": ["false"]})
        kernel = await observed.phase(kernel, "Failed")
    entry = condition(kernel, "TemplateAccepted")
    assert entry is not None
    assert entry["reason"] == "Corrected"
    assert "Always" in entry["message"]
    (pod,) = observed.pods_of(kernel)
    assert pod["spec"]["restartPolicy"] == "Never"


async def test_a_kernel_whose_container_ended_gives_its_node_back(
    running: Any, start: Any, observed: Observed, images: Images
) -> None:
    beside = {"name": "beside", "image": images.name("kernel"), "command": ["sleep", "3600"]}
    sleeping = {"name": "kernel", "image": images.name("kernel"), "command": ["true"]}
    for container in (beside, sleeping):
        container["imagePullPolicy"] = images.pull_policy
    async with running():
        kernel = await start(pod_spec={"containers": [beside, sleeping]})
        kernel = await observed.phase(kernel, "Succeeded")
        await observed.pod(name_of(kernel), lambda pod: pod is None)
        assert observed.pods_made_for(kernel) == [name_of(kernel)]
        assert reason(kernel, "Succeeded") == "Completed"


class TestResumed:
    """States in which a service may have been stopped; the next one goes on from there."""

    async def test_before_admission(self, running: Any, start: Any, observed: Observed) -> None:
        kernel = await start()
        async with running():
            await observed.phase(kernel, "Running")

    async def test_between_admission_and_pod(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        kernel = await self._admitted(cluster, namespace, await start())
        async with running():
            kernel = await observed.phase(kernel, "Running")
        assert observed.pods_made_for(kernel) == [name_of(kernel)]

    async def test_between_pod_and_its_name_in_the_status(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        kernel = await self._admitted(cluster, namespace, await start())
        pod = await cluster.create(PODS, namespace, kernels.desired_pod(kernel))
        async with running():
            kernel = await observed.phase(kernel, "Running")
        assert [uid_of(found) for found in observed.pods_of(kernel)] == [uid_of(pod)]
        assert observed.pods_made_for(kernel) == [name_of(kernel)]

    async def test_between_pod_and_the_first_status(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        kernel = await start()
        pod = await cluster.create(PODS, namespace, kernels.desired_pod(kernel))
        async with running():
            kernel = await observed.phase(kernel, "Running")
        assert [uid_of(found) for found in observed.pods_of(kernel)] == [uid_of(pod)]
        assert is_true(kernel, "Admitted")

    async def test_a_kernel_with_a_pod_has_its_place(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        earlier = await start()
        kernel = await start()
        await cluster.create(PODS, namespace, kernels.desired_pod(kernel))
        async with running(quota={"kernelsPerUser": 1}):
            await observed.phase(kernel, "Running")
            await observed.phase(earlier, "Refused")
        assert observed.pods_made_for(earlier) == []

    async def test_after_the_pod_went(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        kernel = await self._admitted(cluster, namespace, await start())
        status = {"status": {"podName": name_of(kernel)}}
        await cluster.merge_patch(
            JUPYTER_KERNELS, namespace, name_of(kernel), status, subresource="status"
        )
        async with running():
            kernel = await observed.phase(kernel, "Failed")
        assert reason(kernel, "Failed") == "PodDeleted"
        assert observed.pods_made_for(kernel) == []

    async def test_while_culling(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        async with running():
            kernel = await observed.phase(await start(), "Running")
        culled = {"status": {"phase": "Culled"}}
        await cluster.merge_patch(
            JUPYTER_KERNELS, namespace, name_of(kernel), culled, subresource="status"
        )
        async with running():
            await observed.gone(kernel)
            await observed.pod(name_of(kernel), lambda pod: pod is None)

    async def test_somebody_elses_pod_of_the_name_is_left_alone(
        self, cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
    ) -> None:
        kernel = await start()
        body = kernels.desired_pod(kernel)
        del body["metadata"]["ownerReferences"]
        foreign = await cluster.create(PODS, namespace, body)
        async with running():
            kernel = await observed.phase(kernel, "Failed")
            assert reason(kernel, "Failed") == "PodRejected"
            assert "isn't this kernel's" in condition(kernel, "Failed")["message"]  # type: ignore[index]
        assert observed.pods_seen[uid_of(foreign)] == name_of(kernel)
        assert observed.pods_made_for(kernel) == [name_of(kernel)]

    async def test_without_anything_to_do_nothing_is_written(
        self, running: Any, start: Any, observed: Observed
    ) -> None:
        async with running():
            first = await observed.phase(await start(), "Running")
        async with running():
            await observed.phase(await start(), "Running")  # by then the first was looked at, too
        now = observed.kernels.store.get((first["metadata"]["namespace"], name_of(first)))
        assert now is not None
        assert now["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]

    @staticmethod
    async def _admitted(cluster: Cluster, namespace: str, kernel: Object) -> Object:
        status = kernel_status.of_admission(
            kernel, admitted=True, reason="WithinQuota", message="", now=datetime.now(UTC)
        )
        return await cluster.merge_patch(
            JUPYTER_KERNELS, namespace, name_of(kernel), {"status": status}, subresource="status"
        )

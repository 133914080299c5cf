"""What pods of a gateway have said of its kernels, once they are gone."""

from typing import Any

from hub_service.kinds import JUPYTER_KERNELS, PODS, name_of, status_of
from hub_service.kube import Cluster
from tests.integration.support import Observed, serving_pod


async def test_what_pods_said_that_are_gone_is_taken_out(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    for name in ("shared-1", "shared-2"):
        await serving_pod(cluster, namespace, "shared", name)
    kernel = await start(gateway={"name": "shared"}, pod_spec={"schedulerName": "none"})
    lost = "2026-01-01T00:00:00.000000Z"
    activity = {
        "executionState": "idle",
        "lastActivity": lost,
        "connections": 7,
        "connectionsByPod": {"shared-1": 1, "shared-2": 2, "shared-0": 4},
        "heartbeatLostByPod": {"shared-0": lost, "shared-2": lost},
    }
    await cluster.merge_patch(
        JUPYTER_KERNELS,
        namespace,
        name_of(kernel),
        {"status": {"activity": activity}},
        subresource="status",
    )

    def says(connections: dict[str, int], hearts: set[str]) -> Any:
        def holds(status: Any) -> bool:
            said = status.get("activity") or {}
            return (
                said.get("connections") == sum(connections.values())
                and said.get("connectionsByPod") == connections
                and set(said.get("heartbeatLostByPod") or {}) == hearts
            )

        return holds

    async with running():
        # One was gone before the service began to look.
        await observed.kernel(kernel, says({"shared-1": 1, "shared-2": 2}, {"shared-2"}))
        await cluster.delete(PODS, namespace, "shared-2", grace_period=0)
        seen = await observed.kernel(kernel, says({"shared-1": 1}, set()))
    assert status_of(seen)["activity"]["executionState"] == "idle"

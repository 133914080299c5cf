"""Restarts in a kernel's own container, on a real cluster."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

from hub_service import timestamps
from hub_service.kinds import JUPYTER_KERNELS, PODS, Object, condition, name_of, status_of, uid_of
from hub_service.kube import Cluster
from tests.integration.support import Observed, serving_pod

# Ends with 0 when it is told to, as a kernel does that is asked to shut down. Its words are kept.
OBEDIENT = (
    "import signal, sys; signal.signal(signal.SIGHUP, lambda *_: sys.exit(0)); signal.pause()"
)
# The kernel's process: the supervisor's first child.
KERNEL = "for p in /proc/[0-9]*; do read -r _ _ _ parent _ <$p/stat; [ $parent = 1 ] && break; done"


async def ask(cluster: Cluster, kernel: Object, restart_id: str, **details: Any) -> None:
    wanted = {"id": restart_id, "at": timestamps.microseconds(datetime.now(UTC)), **details}
    await cluster.merge_patch(
        JUPYTER_KERNELS,
        kernel["metadata"]["namespace"],
        name_of(kernel),
        {"spec": {"restart": wanted}},
    )


async def report_lost_heart(cluster: Cluster, kernel: Object, pod: str) -> None:
    """As a pod of the kernel's gateway does."""
    now = timestamps.microseconds(datetime.now(UTC))
    since = {"heartbeatLostByPod": {pod: now}}
    await cluster.merge_patch(
        JUPYTER_KERNELS,
        kernel["metadata"]["namespace"],
        name_of(kernel),
        {"status": {"activity": since}},
        subresource="status",
    )


def settled(restart_id: str) -> Any:
    def holds(status: Object) -> bool:
        outcome = status.get("restart") or {}
        return outcome.get("id", "").startswith(restart_id) and "delivered" in outcome

    return holds


async def inside(cluster: Cluster, kernel: Object, script: str) -> str:
    done = await cluster.execute(
        kernel["metadata"]["namespace"], name_of(kernel), "kernel", ["sh", "-c", script]
    )
    return done.output.strip()


async def process(cluster: Cluster, kernel: Object) -> str:
    """The kernel's process id, once it has set itself up."""
    async with asyncio.timeout(30):
        while True:
            look = (
                f"{KERNEL}; grep -q -E 'Sig(Cgt|Ign):.*[13579bdf]$' $p/status && echo ${{p#/proc/}}"
            )
            if (found := await inside(cluster, kernel, look)).isdigit():
                return found


async def test_a_kernel_is_restarted_in_its_pod(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    async with running(liveness={"timeout": 1, "restarts": 1}):
        for name in ("shared-1", "shared-2"):
            await serving_pod(cluster, namespace, "shared", name)
        words = ["a  b", "$HOME", "'", "*"]
        kernel = await start(
            container={"command": ["python3", "-c", OBEDIENT], "args": words},
            gateway={"name": "shared"},
        )
        kernel = await observed.phase(kernel, "Running")
        (pod,) = observed.pods_of(kernel)
        before = await process(cluster, kernel)
        began = datetime.now(UTC)

        await ask(cluster, kernel, "soft", graceSeconds=10)
        await inside(cluster, kernel, f"kill -HUP {before}")

        done = await observed.kernel(kernel, settled("soft"))
        print(f"restart took {(datetime.now(UTC) - began).total_seconds():.2f} s")
        assert status_of(done)["restart"]["delivered"] is True, status_of(done)["restart"]
        after = await process(cluster, kernel)
        assert after != before
        cmdline = f"tr '\\0' '\\n' </proc/{after}/cmdline"
        assert (await inside(cluster, kernel, cmdline)).splitlines()[-4:] == words

        # One that does not answer its gateway, once all of the gateway's pods say so.
        await report_lost_heart(cluster, kernel, "shared-1")
        alone_until = datetime.now(UTC)
        await cluster.delete(PODS, namespace, "shared-2", grace_period=0)
        own = await observed.kernel(kernel, settled("heartbeat-"))
        restarted = timestamps.parse(status_of(own)["restart"]["at"])
        assert restarted is not None
        assert restarted > alone_until
        assert status_of(own)["restart"]["count"] == 1
        assert await process(cluster, kernel) != after
        assert [uid_of(it) for it in observed.pods_of(kernel)] == [uid_of(pod)]
        assert status_of(own)["phase"] == "Running"

        # Once more, with no restarts left: it fails.
        await report_lost_heart(cluster, kernel, "shared-1")
        failed = await observed.phase(kernel, "Failed")
        assert condition(failed, "Failed")["reason"] == "HeartbeatLost"  # type: ignore[index]
        await observed.pod(name_of(pod), lambda item: item is None)

"""Interrupts by signal in real containers."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_service import timestamps
from hub_service.kinds import JUPYTER_KERNELS, Object, name_of, status_of
from hub_service.kube import ApiError, Cluster
from tests.integration.support import Observed

# Prints what it was interrupted in; its child is of its process group.
WORKER = """
import signal, subprocess, sys
signal.signal(signal.SIGINT, lambda *_: None)
child = subprocess.Popen(["sleep", "3600"])
sys.exit(40 + child.wait())
"""


async def ask(cluster: Cluster, kernel: Object, interrupt_id: str, age: float = 0.0) -> None:
    at = timestamps.microseconds(datetime.now(UTC) - timedelta(seconds=age))
    await cluster.merge_patch(
        JUPYTER_KERNELS,
        kernel["metadata"]["namespace"],
        name_of(kernel),
        {"spec": {"interrupt": {"id": interrupt_id, "at": at}}},
    )


def settled(interrupt_id: str) -> Any:
    def holds(status: Object) -> bool:
        outcome = status.get("interrupt") or {}
        return outcome.get("id") == interrupt_id and "delivered" in outcome

    return holds


async def test_the_kernel_and_what_it_runs_get_the_signal(
    cluster: Cluster, running: Any, start: Any, observed: Observed
) -> None:
    async with running():
        kernel = await start(container={"command": ["python3", "-c", WORKER]})
        kernel = await observed.phase(kernel, "Running")
        await child_of(cluster, kernel)
        await ask(cluster, kernel, "late", age=60)
        late = await observed.kernel(kernel, settled("late"))
        assert status_of(late)["interrupt"]["delivered"] is False
        assert "60 s ago" in status_of(late)["interrupt"]["message"]
        assert status_of(late)["phase"] == "Running"

        await ask(cluster, kernel, "first")

        asked = await observed.kernel(kernel, settled("first"))
        assert status_of(asked)["interrupt"] == {"id": "first", "delivered": True, "message": ""}
        ended = await observed.phase(kernel, "Failed", "Succeeded")
        assert status_of(ended)["exitCode"] == 40 - 2  # the child ended by SIGINT


async def test_a_container_without_sh_says_so(
    cluster: Cluster, running: Any, start: Any, observed: Observed
) -> None:
    async with running():
        kernel = await start(
            container={
                "command": ["/bin/sleep", "3600"],
                "env": [{"name": "PATH", "value": "/nowhere"}],
            }
        )
        await observed.phase(kernel, "Running")
        await ask(cluster, kernel, "first")
        asked = await observed.kernel(kernel, settled("first"))
        outcome = status_of(asked)["interrupt"]
        assert outcome["delivered"] is False
        assert '"sh": executable file not found' in outcome["message"]


async def test_a_command_runs_in_a_container(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    async with running():
        name = name_of(await observed.phase(await start(), "Running"))
        both = ["sh", "-c", "echo out; echo err >&2; exit 3"]
        done = await cluster.execute(namespace, name, "kernel", both)
        assert done.exit_code == 3
        assert sorted(done.output.split()) == ["err", "out"]
        assert (await cluster.execute(namespace, name, "kernel", ["true"])).exit_code == 0
        with pytest.raises(ApiError, match="not-there"):
            await cluster.execute(namespace, name, "kernel", ["not-there"])
        with pytest.raises(ApiError) as late:
            await cluster.execute(namespace, name, "kernel", ["sleep", "60"], timeout=0.5)
        assert late.value.reason == "Timeout"
        with pytest.raises(ApiError) as missing:
            await cluster.execute(namespace, "missing", "kernel", ["true"])
        assert missing.value.status == 404


async def child_of(cluster: Cluster, kernel: Object) -> None:
    """Wait until the kernel's process has its child."""
    look = ["sh", "-c", "grep -q sleep /proc/[0-9]*/comm"]
    async with asyncio.timeout(20):
        while (
            await cluster.execute(kernel["metadata"]["namespace"], name_of(kernel), "kernel", look)
        ).exit_code:
            pass

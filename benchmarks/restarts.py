"""A restart in the kernel's pod, from JupyterLab's request to the new interpreter's first reply."""

from __future__ import annotations

import statistics
import time

from demo.client import Person
from hub_service.kinds import PODS, uid_of
from hub_service.kube import Cluster


async def measure(
    cluster: Cluster, namespace: str, person: Person, rounds: int
) -> dict[str, float]:
    """Medians; each restart is checked to be in the same pod, and of the interpreter."""
    answers: list[float] = []
    replies: list[float] = []
    kernel = await person.start_kernel("python")
    try:
        pod = uid_of(await cluster.get(PODS, namespace, f"kernel-{kernel}"))
        async with person.connect(kernel) as connection:
            await connection.execute("x = 1")
            for turn in range(rounds):
                started = time.monotonic()
                await person.restart(kernel)
                answers.append(time.monotonic() - started)
                ran = await connection.execute("'x' in globals()")
                replies.append(time.monotonic() - started)
                if ran.text != "False":
                    raise RuntimeError(f"the kernel was not restarted: {ran.text or ran.error}")
                await connection.execute("x = 1")
                print(
                    f"  restart {turn + 1}: answered after {answers[-1]:.2f} s, "
                    f"first reply after {replies[-1]:.2f} s",
                    flush=True,
                )
        if uid_of(await cluster.get(PODS, namespace, f"kernel-{kernel}")) != pod:
            raise RuntimeError("the kernel was restarted in another pod")
    finally:
        await person.shut_down(kernel)
    return {
        "restart_in_place_s": round(statistics.median(replies), 3),
        "restart_in_place_s_max": round(max(replies), 3),
        "restart_answer_s": round(statistics.median(answers), 3),
        "restart_rounds": rounds,
    }

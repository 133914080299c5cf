"""Brings it together: a local cluster, a hub on it, users who work, and the faults."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

from demo.install import Images, install
from hub_service.kube import Cluster
from localcluster.layout import find_cluster
from tests.e2e.support import everybody_leaves
from tests.faults.api_proxy import proxied
from tests.faults.model import Tally
from tests.faults.node import Node
from tests.faults.plan import Fault
from tests.faults.rounds import Rounds
from tests.faults.strikes import Strikes
from tests.faults.users import SLOTS, opened

# Nobody idles out, and what is left over is collected soon.
SETTINGS: dict[str, dict[str, Any]] = {
    "culling": {"idleTimeout": 0},
    "start": {"answerAfter": 5, "grace": 5},
    "orphans": {"grace": 5},
    "quota": {"kernelsPerUser": len(SLOTS)},
}
HUB_CONFIG = "\nc.KubeSpawner.http_timeout = 120\n"  # for a machine with other things to do


async def run(
    name: str,
    users: Sequence[str],
    seed: int,
    faults: Sequence[Fault],
    *,
    images: Images,
    say: Callable[[str], None],
) -> Tally:
    """Install a hub on the local cluster of that name, let the faults strike, and count.

    KUBECONFIG leads to the cluster, which has a GPU for each user at least.
    """
    local = find_cluster(name)
    node = Node(local)
    async with AsyncExitStack() as stack:
        # Before hub and gateway start: connections that they have stay as they are.
        proxy = await stack.enter_async_context(proxied(local, node.init, random.Random(seed)))
        installation = await asyncio.to_thread(
            install, images, SETTINGS, extra_config=HUB_CONFIG, restart=True
        )
        await asyncio.to_thread(everybody_leaves, installation)  # of a run that was broken off
        cluster = await stack.enter_async_context(Cluster.from_environment())
        people = await asyncio.gather(*(opened(installation, user, stack) for user in users))
        namespace = installation.namespace
        strikes = Strikes(cluster, namespace, node, proxy)
        rounds = Rounds(list(people), strikes, cluster, namespace, say)
        await rounds.start_anew()
        say(f"seed {seed}: {len(users)} users, {len(users) * len(SLOTS)} kernels")
        started = time.monotonic()
        for fault in faults:
            await rounds.round(fault)
            proxy.forget_closed()
        return replace(rounds.tally, seconds=round(time.monotonic() - started, 1))

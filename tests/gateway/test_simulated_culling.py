"""The simulator's word on when Enterprise Gateway culls is Enterprise Gateway's."""

import logging
from datetime import timedelta
from itertools import product
from types import SimpleNamespace

from enterprise_gateway.services.kernels.remotemanager import RemoteMappingKernelManager
from jupyter_server._tz import utcnow

from simulator.others import enterprise_gateway_culls

TIMEOUT = 3600


async def test_it_culls_what_the_simulator_says():
    seen = set()
    for idle, state, connections, cull_connected in product(
        (0, 3500, 3700), ("idle", "busy", "starting"), (0, 1, 2), (False, True)
    ):
        ended = []

        async def shutdown(kernel_id, ended=ended):
            ended.append(kernel_id)

        kernel = SimpleNamespace(
            execution_state=state,
            kernel_name="python",
            last_activity=utcnow() - timedelta(seconds=idle),
        )
        manager = SimpleNamespace(
            _kernels={"k": kernel},
            _kernel_connections={"k": connections},
            cull_busy=False,
            cull_connected=cull_connected,
            cull_idle_timeout=TIMEOUT,
            log=logging.getLogger(__name__),
            shutdown_kernel=shutdown,
        )
        await RemoteMappingKernelManager.cull_kernel_if_idle(manager, "k")
        told = enterprise_gateway_culls(
            idle=idle,
            timeout=TIMEOUT,
            busy=state == "busy",
            connections=connections,
            cull_connected=cull_connected,
        )
        assert bool(ended) == told, (idle, state, connections, cull_connected)
        seen.add(told)
    assert seen == {True, False}

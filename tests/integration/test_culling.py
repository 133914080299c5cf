"""Idle kernels end, with the gateway's consent. The gateway here is a stand-in."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from hub_service import timestamps
from hub_service.kinds import JUPYTER_GATEWAYS, Object, condition, name_of, spec_of
from hub_service.kube import Cluster
from tests.integration.gateway_stand_in import GATEWAY, StandIn
from tests.integration.support import DEADLINE, Observed


async def test_an_idle_kernel_ends(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    async with serving(2):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        seen: list[Object] = []
        observed.kernels.subscribe(lambda _key, _old, new: seen.append(new) if new else None)
        began = datetime.now(UTC)
        await report(kernel, "idle")
        await stand_in.was_asked(1)
        assert (datetime.now(UTC) - began).total_seconds() >= 1.9
        await observed.gone(kernel, 5)
        await observed.pod(name_of(kernel), lambda pod: pod is None)
    (asked,) = stand_in.asked
    assert asked[:2] == (spec_of(kernel)["kernelID"], "token service-token")
    assert timestamps.parse(asked[2]["idle_before"]) >= began - timedelta(seconds=0.1)
    entry = condition(seen[-1], "Culled")
    assert entry is not None  # it was said before the kernel went
    assert entry["message"] == ("The kernel was idle for 2 s or more (by the settings' culling).")


async def test_a_kernel_that_got_busy_meanwhile_stays(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    now = timestamps.microseconds(datetime.now(UTC))
    stand_in.answer = (409, {"sealed": False, "execution_state": "busy", "last_activity": now})
    async with serving(1):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        await report(kernel, "idle", seconds_ago=60)
        await stand_in.was_asked(1)
        await report(kernel, "busy")  # the gateway's report arrives
        probe = await observed.phase(await start("bob", **GATEWAY), "Running")
        await report(probe, "idle")
        await stand_in.was_asked(2)  # the time-out is over for both, the busy one isn't asked about
        assert [kernel_id for kernel_id, _, _ in stand_in.asked] == [
            spec_of(kernel)["kernelID"],
            spec_of(probe)["kernelID"],
        ]
        # Then it is idle again, and its time comes.
        stand_in.answer = (200, {"sealed": True})
        await report(kernel, "idle")
        await observed.gone(kernel, 10)


async def test_an_idle_kernel_that_was_active_since_is_asked_again_in_time(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    async with serving(2):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        active = datetime.now(UTC)
        last = {"execution_state": "idle", "last_activity": timestamps.microseconds(active)}
        stand_in.answer = (409, {"sealed": False, **last})
        await report(kernel, "idle", seconds_ago=1.5)
        await stand_in.was_asked(1)
        stand_in.answer = (200, {"sealed": True})
        await stand_in.was_asked(2)
        assert (datetime.now(UTC) - active).total_seconds() >= 1.9
        await observed.gone(kernel, 5)


@pytest.mark.parametrize(
    "answer",
    [(404, {}), (500, {}), (403, {}), (200, {}), (200, {"sealed": "yes"}), (409, []), (302, {})],
)
async def test_unknown_is_not_idle(
    serving: Any,
    start: Any,
    report: Any,
    observed: Observed,
    stand_in: StandIn,
    answer: tuple[int, Any],
    caplog: pytest.LogCaptureFixture,
) -> None:
    stand_in.answer = answer
    async with serving(1):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        await report(kernel, "idle", seconds_ago=60)
        await stand_in.was_asked(1)
        probe = await observed.phase(await start("bob"), "Running")  # the service goes on
    assert [
        name_of(item) for item in observed.kernels.store if item["status"]["phase"] == "Running"
    ]
    for item in (kernel, probe):
        assert observed.kernels.store.get((observed.namespace, name_of(item))) is not None
    assert any("not culled" in record.getMessage() for record in caplog.records)


async def test_an_unreachable_gateway_keeps_its_kernels_and_holds_up_nobody(
    running: Any, start: Any, report: Any, observed: Observed
) -> None:
    accepted = asyncio.Event()

    async def never_answer(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()

    server = await asyncio.start_server(never_answer, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with running(gateway_urls=lambda _n, _ns: [url], culling={"idleTimeout": 1}):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        await report(kernel, "idle", seconds_ago=60)
        async with asyncio.timeout(DEADLINE):
            await accepted.wait()
        await observed.phase(await start(), "Running")
        assert observed.kernels.store.get((observed.namespace, name_of(kernel))) is not None
    server.close()


async def test_the_services_token_goes_to_gateways_that_exist_only(
    cluster: Cluster,
    namespace: str,
    serving: Any,
    start: Any,
    report: Any,
    observed: Observed,
    stand_in: StandIn,
) -> None:
    async with serving(1):
        astray = await observed.phase(await start(gateway={"name": "not-there"}), "Running")
        probe = await observed.phase(await start("bob", **GATEWAY), "Running")
        await report(astray, "idle", seconds_ago=60)
        await report(probe, "idle")
        await observed.gone(probe, 10)
        assert [asked[0] for asked in stand_in.asked] == [spec_of(probe)["kernelID"]]
        body = {
            "apiVersion": JUPYTER_GATEWAYS.api_version,
            "kind": JUPYTER_GATEWAYS.kind,
            "metadata": {"name": "not-there"},
            "spec": {"image": "elastic/none:none", "imagePullPolicy": "Never"},
        }
        await cluster.create(JUPYTER_GATEWAYS, namespace, body)
        await observed.gone(astray, 10)


async def test_a_shorter_time_out_acts_at_once(
    cluster: Cluster,
    namespace: str,
    serving: Any,
    start: Any,
    report: Any,
    observed: Observed,
    stand_in: StandIn,
) -> None:
    async with serving(3600, gateway={"name": "shared", "image": "elastic/none:none"}):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        never = await observed.phase(await start(cullIdleTimeout=0, **GATEWAY), "Running")
        for item in (kernel, never):
            await report(item, "idle", seconds_ago=60)
        await cluster.merge_patch(
            JUPYTER_GATEWAYS, namespace, "shared", {"spec": {"cullIdleTimeout": 1}}
        )
        await observed.gone(kernel, 10)
        assert observed.kernels.store.get((namespace, name_of(never))) is not None
    assert [kernel_id for kernel_id, _, _ in stand_in.asked] == [spec_of(kernel)["kernelID"]]


async def test_kernels_of_a_lost_server_end_once_they_are_idle(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    here = {"", "second"}

    async def servers_of(_user: str) -> frozenset[str]:
        return frozenset(here)

    culling = {"idleTimeout": 0, "lostServerTimeout": 2}
    async with serving(0, culling=culling, servers_of=servers_of):
        busy = await observed.phase(await start(server="", **GATEWAY), "Running")
        idle = await observed.phase(await start(server="second", **GATEWAY), "Running")
        await report(busy, "busy")
        await report(idle, "idle")
        here.clear()
        await observed.gone(idle)
        assert {asked[0] for asked in stand_in.asked} == {spec_of(idle)["kernelID"]}
        await report(busy, "idle")
        await observed.gone(busy)


async def test_kernels_of_no_server_wait_for_none(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    async def servers_of(_user: str) -> frozenset[str]:
        return frozenset()

    culling = {"idleTimeout": 0, "lostServerTimeout": 1}
    async with serving(0, culling=culling, servers_of=servers_of):
        unbound = await observed.phase(await start(**GATEWAY), "Running")
        bound = await observed.phase(await start(server="", **GATEWAY), "Running")
        await report(unbound, "idle", seconds_ago=60)
        await report(bound, "idle", seconds_ago=60)
        await observed.gone(bound)
    assert {asked[0] for asked in stand_in.asked} == {spec_of(bound)["kernelID"]}

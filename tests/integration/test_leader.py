"""Two that compete for a Lease, on the real API server: one acts, and never two."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub_service.kinds import Object, Resource, name_of
from hub_service.kube import ApiError, Cluster
from hub_service.kube.leader import LEASES, Leader, boot_time
from hub_service.kube.lease import Timing
from tests.integration.partition import Way, way_to_api_server
from tests.integration.support import DEADLINE, reflecting, until

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
LEASE = "test"
# Short, and with room for a machine that is busy.
SHORT = Timing(duration=6, deadline=4, stop_within=1.5, renew=0.3, retry=0.1, request=1)


class Competitor:
    """Writes one object after the other while it leads, as fast as it can."""

    def __init__(self, cluster: Cluster, namespace: str, name: str, **options: Any) -> None:
        self.name = name
        self.acting = False
        self.written = 0
        self.changes: list[bool] = []
        self.clock_ahead = 0.0
        self.leader = Leader(
            cluster,
            namespace=namespace,
            name=LEASE,
            identity=name,
            clock=lambda: boot_time() + self.clock_ahead,
            on_change=self.changes.append,
            **{"timing": SHORT, **options},
        )
        self._namespace = namespace
        self._cluster = cluster.guarded(self.leader.may_act)
        self._numbers = itertools.count()

    async def act(self) -> None:
        self.acting = True
        try:
            while True:
                body = {"metadata": {"generateName": f"{self.name}-"}}
                try:
                    await self._cluster.create(CONFIG_MAPS, self._namespace, body)
                    self.written += 1
                except ApiError:
                    await asyncio.sleep(0.05)
        finally:
            self.acting = False


@pytest.fixture
def competing(namespace: str) -> Callable[..., Any]:
    @asynccontextmanager
    async def run(cluster: Cluster, name: str, **options: Any) -> AsyncIterator[Competitor]:
        competitor = Competitor(cluster, namespace, name, **options)
        task = asyncio.create_task(competitor.leader.run(competitor.act))
        try:
            yield competitor
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return run


@pytest.fixture
async def cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Way, Cluster]]:
    """A second client, whose way to the API server can be cut."""
    async with AsyncExitStack() as stack:
        way, path = await stack.enter_async_context(way_to_api_server(tmp_path))
        with monkeypatch.context() as patch:
            patch.setenv("KUBECONFIG", str(path))
            cluster = await stack.enter_async_context(Cluster.from_environment())
        yield way, cluster


@pytest.fixture
async def history(cluster: Cluster, namespace: str) -> AsyncIterator[Callable[[], list[Object]]]:
    """All Leases that were seen, in the API's order."""
    seen: list[Object] = []
    async with reflecting(cluster, LEASES, namespace) as leases:
        leases.subscribe(lambda _key, _old, new: seen.append(new) if new else None)
        yield lambda: seen


async def writers(cluster: Cluster, namespace: str) -> list[tuple[int, str]]:
    """Who wrote, in the order in which the API server carried it out."""
    maps = (await cluster.list(CONFIG_MAPS, namespace))["items"]
    marks = [item for item in maps if not name_of(item).startswith("kube-root")]
    return sorted(
        (int(item["metadata"]["resourceVersion"]), name_of(item).split("-")[0]) for item in marks
    )


async def assert_one_at_a_time(
    cluster: Cluster, namespace: str, leases: list[Object], expected: list[str]
) -> None:
    """Each write lies between its writer's taking of the Lease and the next one's."""
    wrote = await writers(cluster, namespace)
    assert [name for name, _ in itertools.groupby(name for _, name in wrote)] == expected
    holders = [
        (int(item["metadata"]["resourceVersion"]), item["spec"].get("holderIdentity"))
        for item in leases
    ]
    for version, name in wrote:
        before = [holder for at, holder in holders if at < version and holder]
        assert before[-1] == name, (version, name, holders)


async def test_of_two_one_acts_and_the_other_follows_at_once_when_it_is_told_to_stop(
    cluster: Cluster, namespace: str, competing: Any, history: Any
) -> None:
    slow = Timing(duration=60, deadline=40, stop_within=10)
    async with AsyncExitStack() as stack:
        async with competing(cluster, "one", timing=slow) as one:
            await until(lambda: one.written > 0)
            two = await stack.enter_async_context(competing(cluster, "two", timing=slow))
            await until(lambda: len(history()) >= 2)  # renewed once, while the other looks on
            assert not two.acting
        assert not one.acting
        await until(lambda: two.acting, 20)  # far less than the duration
        version = len(await writers(cluster, namespace))
        async with asyncio.timeout(DEADLINE):
            while len(await writers(cluster, namespace)) < version + 2:
                pass
    assert one.changes == [True, False]
    await assert_one_at_a_time(cluster, namespace, history(), ["one", "two"])


@pytest.mark.parametrize("skew", [timedelta(days=-400), timedelta(days=400)], ids=["back", "ahead"])
async def test_one_that_is_cut_off_stops_before_the_other_starts(
    cluster: Cluster,
    cut_off: tuple[Way, Cluster],
    namespace: str,
    competing: Any,
    history: Any,
    skew: timedelta,
) -> None:
    way, over_way = cut_off
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(competing(over_way, "one"))
        await until(lambda: one.written > 0)
        other_clock = competing(cluster, "two", wall=lambda: datetime.now(UTC) + skew)
        two = await stack.enter_async_context(other_clock)
        way.cut()
        await until(lambda: two.acting or not one.acting)
        assert not (one.acting and two.acting)
        await until(lambda: two.acting)
        assert not one.acting
        assert not one.leader.may_act()
        way.heal()  # what was on the way arrives now
        count = len(await writers(cluster, namespace))
        async with asyncio.timeout(DEADLINE):
            while len(await writers(cluster, namespace)) < count + 5:
                pass
        assert two.acting
        assert not one.acting
    lease = history()[-1]["spec"]
    assert lease["leaseTransitions"] == 1
    await assert_one_at_a_time(cluster, namespace, history(), ["one", "two"])


async def test_one_request_without_an_answer_is_not_the_end(
    cut_off: tuple[Way, Cluster], competing: Any, history: Any, caplog: pytest.LogCaptureFixture
) -> None:
    way, over_way = cut_off
    timing = Timing(duration=60, deadline=50, stop_within=5, renew=0.2, retry=0.2, request=0.5)
    async with competing(over_way, "one", timing=timing) as one:
        await until(lambda: one.written > 0)
        way.cut()
        await until(lambda: "not renewed: 0 Timeout" in caplog.text)
        assert one.acting
        way.heal()
        count = len(history())
        await until(lambda: len(history()) > count + 2)
        assert one.changes == [True]


async def test_a_lease_that_somebody_deletes_is_lost(
    cluster: Cluster, namespace: str, competing: Any, history: Any
) -> None:
    async with competing(cluster, "one") as one:
        await until(lambda: one.written > 0)
        await cluster.delete(LEASES, namespace, LEASE)
        await until(lambda: one.changes == [True, False, True])


async def test_after_a_pause_of_the_whole_process_nothing_more_is_written(
    cluster: Cluster, namespace: str, competing: Any
) -> None:
    async with competing(cluster, "one") as one:
        await until(lambda: one.written > 0)
        one.clock_ahead += SHORT.deadline  # no await from here to the write: the loop stood still
        assert not one.leader.may_act()
        guarded = cluster.guarded(one.leader.may_act)
        with pytest.raises(ApiError, match="NotAllowedNow"):
            await guarded.create(CONFIG_MAPS, namespace, {"metadata": {"name": "late"}})


async def test_what_does_not_stop_ends_the_process_and_the_lease_is_kept(
    cluster: Cluster, namespace: str, history: Any
) -> None:
    stuck = asyncio.Event()
    free = asyncio.Event()
    acting = asyncio.Event()

    async def stubborn() -> None:
        acting.set()
        while not free.is_set():
            try:
                await free.wait()
            except asyncio.CancelledError:
                continue

    leader = Leader(
        cluster, namespace=namespace, name=LEASE, identity="one", timing=SHORT, on_stuck=stuck.set
    )
    running = asyncio.create_task(leader.run(stubborn))
    await asyncio.wait_for(acting.wait(), DEADLINE)
    running.cancel()
    await asyncio.wait_for(stuck.wait(), DEADLINE)
    free.set()
    await asyncio.gather(running, return_exceptions=True)
    lease = await cluster.get(LEASES, namespace, LEASE)
    assert lease["spec"]["holderIdentity"] == "one"

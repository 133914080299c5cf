"""The hub is told of servers whose kernels work; lost servers are waited for, not for ever."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tornado import httpserver, netutil, web

from hub_service.culling import Activity
from hub_service.gpu_use.use import Known, Rule, observed
from hub_service.hub import servers
from hub_service.hub.client import HubClient
from hub_service.hub.servers import Presence, Server
from hub_service.kinds import Object
from hub_service.kube import Key
from hub_service.reconcile.servers import Servers

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ADA = Server("ada", "")


def kernel(
    owner: str | None = "ada",
    server: str | None = "",
    *,
    state: str = "idle",
    phase: str = "Running",
    active: datetime | None = NOW - 10 * MINUTE,
    kept: datetime | None = None,
    name: str = "kernel-1",
) -> Object:
    spec = {"owner": owner, "server": server}
    activity = {"executionState": state, "lastActivity": active.isoformat() if active else None}
    return {
        "metadata": {"name": name, "namespace": "users"},
        "spec": {field: value for field, value in spec.items() if value is not None},
        "status": {
            "phase": phase,
            "activity": activity,
            "culling": {"keptUntil": kept.isoformat()} if kept else {},
        },
    }


@pytest.mark.parametrize(
    ("item", "moment"),
    [
        (kernel(state="busy"), NOW),
        (kernel(state="idle"), NOW - 10 * MINUTE),
        # What a kernel was doing when it died says nothing about now.
        (kernel(state="busy", phase="Failed"), NOW - 10 * MINUTE),
        (kernel(kept=NOW + MINUTE), NOW),
        (kernel(kept=NOW - MINUTE), NOW - 10 * MINUTE),
    ],
)
def test_when_a_server_was_active(item: Object, moment: datetime) -> None:
    assert servers.news([item], {}, NOW) == {ADA: moment}


@pytest.mark.parametrize(
    ("seen", "moment"),
    [
        (Activity(None, "idle, but its GPUs are in use"), NOW),
        (Activity(NOW - 3 * MINUTE), NOW - 3 * MINUTE),
        (Activity(NOW - 10 * MINUTE), NOW - 10 * MINUTE),
    ],
)
def test_a_server_is_active_while_gpus_of_its_kernels_are(seen: Activity, moment: datetime) -> None:
    assert servers.news([kernel()], {}, NOW, lambda *_: seen) == {ADA: moment}
    # What it did before its end says nothing about now.
    ended = kernel(phase="Failed")
    assert servers.news([ended], {}, NOW, lambda *_: seen) == {ADA: NOW - 10 * MINUTE}


async def test_the_hub_is_told_while_gpus_are_in_use() -> None:
    hub, item = Hub(), kernel()
    item["status"] |= {"gpus": 1, "podName": "kernel-1"}
    rule = Rule(MINUTE, 2 * MINUTE, keep_unknown=True, unused_after=None)
    known = Known(NOW, {("users", "kernel-1"): NOW - MINUTE / 2})

    def seen(kernel: Object, activity: Activity) -> Activity:
        return observed(kernel, activity, known, rule, hub.now)

    watch = watcher(hub, Cache(item), [], observed=seen)
    await watch.tell()
    hub.now += MINUTE
    await watch.tell()
    assert hub.told == [(ADA, NOW), (ADA, NOW + MINUTE)]


def test_only_what_is_new_is_told() -> None:
    idle, busy = kernel(), kernel(state="busy")

    assert servers.news([idle], {ADA: NOW - 10 * MINUTE}, NOW) == {}
    assert servers.news([idle], {ADA: NOW - 11 * MINUTE}, NOW) == {ADA: NOW - 10 * MINUTE}
    assert servers.news([idle, busy], {ADA: NOW - MINUTE}, NOW) == {ADA: NOW}


@pytest.mark.parametrize(
    "item", [kernel(server=None), kernel(owner=None), kernel(active=None), {"metadata": {}}]
)
def test_kernels_without_a_server_or_activity_say_nothing(item: Object) -> None:
    assert servers.news([item], {}, NOW) == {}


def test_a_lost_server_is_waited_for() -> None:
    there = servers.presence(None, True, NOW)
    lost = servers.presence(there, False, NOW + MINUTE)
    still = servers.presence(lost, False, NOW + 2 * MINUTE)
    unsure = servers.presence(still, None, NOW + 9 * MINUTE)
    back = servers.presence(still, True, NOW + 3 * MINUTE)
    timeout = 5 * MINUTE

    assert not servers.is_overdue(None, NOW, timeout=timeout)
    assert not servers.is_overdue(there, NOW + 60 * MINUTE, timeout=timeout)
    assert not servers.is_overdue(still, NOW + 5 * MINUTE, timeout=timeout)
    assert servers.is_overdue(still, NOW + 6 * MINUTE, timeout=timeout)
    assert not servers.is_overdue(still, NOW + 60 * MINUTE, timeout=None)
    assert not servers.is_overdue(unsure, NOW + 60 * MINUTE, timeout=timeout)
    assert not servers.is_overdue(back, NOW + 60 * MINUTE, timeout=timeout)


def test_the_hub_is_asked_more_often_about_what_is_lost() -> None:
    interval = 5 * MINUTE

    assert servers.ask_again(None, NOW, interval=interval)
    assert not servers.ask_again(Presence(NOW), NOW + 4 * MINUTE, interval=interval)
    assert servers.ask_again(Presence(NOW), NOW + 5 * MINUTE, interval=interval)
    assert servers.ask_again(Presence(NOW, gone_since=NOW), NOW, interval=interval)
    assert servers.ask_again(Presence(NOW, certain=False), NOW, interval=interval)


class Cache:
    """Stands in for the reflector of JupyterKernels."""

    def __init__(self, *items: Object) -> None:
        self.store = list(items)


class Hub:
    def __init__(self) -> None:
        self.names: frozenset[str] | None = frozenset({""})
        self.asked = 0
        self.told: list[tuple[Server, datetime]] = []
        self.listens = True
        self.now = NOW

    async def servers_of(self, owner: str) -> frozenset[str] | None:
        assert owner == "ada"
        self.asked += 1
        return self.names

    async def tell(self, server: Server, moment: datetime) -> bool:
        self.told.append((server, moment))
        return self.listens


def watcher(hub: Hub, cache: Cache, changed: list[Key], **more: Any) -> Servers:
    return Servers(
        cache,  # type: ignore[arg-type]
        servers_of=hub.servers_of,
        tell=hub.tell,
        timeout=5 * MINUTE,
        on_change=changed.append,
        clock=lambda: hub.now,
        **more,
    )


async def test_kernels_of_a_lost_server_become_overdue_and_are_not_when_it_is_back() -> None:
    hub, item, changed = Hub(), kernel(), list[Key]()
    watch = watcher(hub, Cache(item), changed)
    await watch.ask()
    await watch.ask()
    assert hub.asked == 1

    hub.names, hub.now = frozenset(), NOW + 6 * MINUTE
    await watch.ask()
    assert not watch.is_overdue(item)
    hub.now += 5 * MINUTE
    await watch.ask()
    assert watch.is_overdue(item)
    assert changed == [Key("users", "kernel-1")]

    hub.names = frozenset({""})
    await watch.ask()
    assert not watch.is_overdue(item)
    assert len(changed) == 2


async def test_what_the_hub_did_not_hear_is_told_again() -> None:
    hub, cache = Hub(), Cache(kernel())
    watch = watcher(hub, cache, [])
    hub.listens = False
    await watch.tell()
    hub.listens = True
    await watch.tell()
    await watch.tell()
    assert hub.told == [(ADA, NOW - 10 * MINUTE)] * 2

    cache.store = [kernel(state="busy")]
    await watch.tell()
    assert hub.told[-1] == (ADA, NOW)


async def test_the_hub_is_told_in_its_own_terms() -> None:
    heard: list[tuple[str, Any]] = []
    status = 200

    class Activity(web.RequestHandler):
        def post(self, name: str) -> None:
            assert self.request.headers["Authorization"] == "token secret"
            heard.append((name, self.request.body.decode()))
            self.set_status(status)

    server = httpserver.HTTPServer(web.Application([(r"/hub/api/users/(.+)/activity", Activity)]))
    (listening,) = netutil.bind_sockets(0, "127.0.0.1")
    server.add_sockets([listening])
    client = HubClient(f"http://127.0.0.1:{listening.getsockname()[1]}/hub/api", "secret")
    try:
        assert await client.tell_activity(Server("ada lovelace/x", "gpu"), NOW)
        ((name, body),) = heard
        assert name == "ada lovelace/x"
        assert body == (
            '{"servers": {"gpu": {"last_activity": "2026-05-01T12:00:00.000000Z"}}, '
            '"last_activity": "2026-05-01T12:00:00.000000Z"}'
        )
        status = 404  # there is no such server any more: telling it again is no use
        assert await client.tell_activity(ADA, NOW)
        status = 503
        assert not await client.tell_activity(ADA, NOW)
    finally:
        server.stop()
        await server.close_all_connections()
    assert not await client.tell_activity(ADA, NOW)

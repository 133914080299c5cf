"""The reflector against an API server that misbehaves."""

import asyncio
from contextlib import asynccontextmanager

import pytest

from hub_service.kube import Reflector
from hub_service.kube.backoff import Backoff


@pytest.fixture
def reflecting(cluster, thing):
    """Runs a reflector; its changes are noted as (name, old spec, new spec)."""

    @asynccontextmanager
    async def run(**options):
        options.setdefault("backoff", lambda: Backoff(0.01, 0.1))
        changes = []

        def on_change(key, old, new):
            changes.append((key.name, old and old["spec"], new and new["spec"]))

        reflector = Reflector(cluster, thing, "ns", on_change=on_change, **options)
        reflector.changes = changes
        task = asyncio.create_task(reflector.run())
        try:
            yield reflector
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    return run


def names(reflector):
    return sorted(item["metadata"]["name"] for item in reflector.store)


async def test_it_lists_and_follows(api_server, reflecting, until):
    api_server.put("a", n=1)
    async with reflecting() as reflector:
        await reflector.synced(5)
        assert names(reflector) == ["a"]
        assert reflector.store.get(("ns", "a"))["kind"] == "Thing"  # lists leave it out
        await until(lambda: api_server.watchers == 1)
        api_server.put("b", n=2)
        api_server.put("a", n=3)
        api_server.remove("b")
        await until(lambda: len(reflector.changes) == 4)
        assert reflector.changes == [
            ("a", None, {"n": 1}),
            ("b", None, {"n": 2}),
            ("a", {"n": 1}, {"n": 3}),
            ("b", {"n": 2}, None),
        ]
        assert api_server.lists == 1


@pytest.mark.parametrize("as_event", [True, False], ids=["in the stream", "as HTTP status"])
async def test_expired_history_is_listed_anew(api_server, reflecting, until, as_event):
    api_server.expired_as_event = as_event
    api_server.put("stays", n=1)
    api_server.put("goes", n=1)
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        api_server.silent = True  # what comes now is missed
        api_server.remove("goes")
        api_server.put("comes", n=1)
        api_server.forget_history()
        api_server.silent = False
        api_server.disconnect()
        await until(lambda: names(reflector) == ["comes", "stays"])
        assert ("goes", {"n": 1}, None) in reflector.changes
        assert api_server.lists == 2
        assert sum(name == "stays" for name, _, _ in reflector.changes) == 1


async def test_a_listener_that_fails_at_one_object_hears_of_others(
    api_server, reflecting, until, caplog
):
    heard = []

    def fail_at_a(key, _old, _new):
        heard.append(key.name)
        if key.name == "a":
            raise KeyError("msg_id")

    api_server.put("a", n=1)
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        with reflector.subscribed(fail_at_a), reflector.subscribed(lambda key, *_: heard.append(2)):
            api_server.put("a", n=2)
            api_server.put("b", n=1)
            await until(lambda: heard == ["a", 2, "b", 2])
        assert [change[0] for change in reflector.changes] == ["a", "a", "b"]
        assert api_server.lists == 1
    assert "a listener failed at" in caplog.text


async def test_a_cut_connection_is_resumed_where_it_was(api_server, reflecting, until):
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        seen = api_server.put("a", n=1)["metadata"]["resourceVersion"]
        await until(lambda: names(reflector) == ["a"])
        api_server.disconnect()
        api_server.put("b", n=1)
        await until(lambda: names(reflector) == ["a", "b"])
        assert api_server.lists == 1
        assert api_server.watches_from[-1] == seen


async def test_a_watch_that_the_server_ends_is_resumed(api_server, reflecting, until):
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        await api_server.end_watches()
        api_server.put("a", n=1)
        await until(lambda: names(reflector) == ["a"])
        assert api_server.lists == 1


async def test_a_bookmark_moves_the_place_and_is_no_object(api_server, reflecting, until):
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        api_server.bookmark(500)
        await until(lambda: reflector._sources["ns"].resource_version == "500")
        api_server.forget_history()
        api_server.disconnect()
        await until(lambda: api_server.watches_from[-1] == "500" and api_server.watchers == 1)
        assert names(reflector) == []
        assert reflector.changes == []
        assert api_server.lists == 1


async def test_a_half_open_connection_is_noticed(api_server, reflecting, until):
    async with reflecting(silence=0.2) as reflector:
        await until(lambda: api_server.watchers == 1)
        api_server.silent = True
        api_server.put("a", n=1)
        await until(lambda: len(api_server.watches_from) > 1)
        api_server.silent = False
        await until(lambda: names(reflector) == ["a"])
        assert api_server.lists == 1


@pytest.mark.parametrize(
    "line",
    [b'{"type": "ADDED", "obj\n', b"[]\n", b'{"type": "ADDED", "object": {"kind": "x"}}\n'],
    ids=["cut off", "no event", "no version"],
)
async def test_what_cannot_be_read_is_listed_anew(api_server, reflecting, until, line):
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        api_server.silent = True
        api_server.put("missed", n=1)
        await api_server.send(line)
        await until(lambda: names(reflector) == ["missed"])
        assert api_server.lists == 2


async def test_failing_answers_are_tried_again(api_server, reflecting, until):
    broken = {"kind": "Status", "reason": "InternalError", "message": "etcd is away"}
    api_server.refusals = [(500, broken), (503, broken), (429, broken)]
    api_server.put("a", n=1)
    async with reflecting() as reflector:
        await reflector.synced(5)
        assert names(reflector) == ["a"]
        await until(lambda: api_server.watchers == 1)
        api_server.refusals = [(500, broken)]
        api_server.disconnect()
        api_server.put("b", n=1)
        await until(lambda: names(reflector) == ["a", "b"])
        assert api_server.lists == 1  # a failed watch is no reason to list


async def test_delays_grow_while_nothing_works(api_server, reflecting, until):
    api_server.refusals = [(500, {})] * 10_000
    async with reflecting(backoff=lambda: Backoff(0.02, 10)):
        await until(lambda: len(api_server.requests) >= 5)
        before = len(api_server.requests)
        with pytest.raises(TimeoutError):
            await until(lambda: len(api_server.requests) > before + 1, seconds=0.3)


async def test_watches_leave_connections_to_requests(api_server, cluster, thing, until):
    many = [f"ns-{number}" for number in range(120)]
    reflector = Reflector(cluster, thing, many)
    task = asyncio.create_task(reflector.run())
    try:
        await until(lambda: api_server.watchers == len(many), 30)
        assert (await cluster.create(thing, "ns", {}))["kind"] == "Thing"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_an_event_of_megabytes(api_server, reflecting, until):
    async with reflecting() as reflector:
        await until(lambda: api_server.watchers == 1)
        api_server.put("big", text="x" * 5_000_000)
        await until(lambda: names(reflector) == ["big"], seconds=10)


async def test_not_synced_names_the_kind(api_server, reflecting):
    api_server.refusals = [(500, {})] * 100
    async with reflecting() as reflector:
        with pytest.raises(TimeoutError, match="things in ns"):
            await reflector.synced(0.05)


class TestWaitFor:
    async def test_what_is_so_already(self, api_server, reflecting):
        api_server.put("a", n=1)
        async with reflecting() as reflector:
            item = await reflector.wait_for(("ns", "a"), lambda item: item is not None, 5)
            assert item["spec"] == {"n": 1}

    async def test_what_comes(self, api_server, reflecting, until):
        async with reflecting() as reflector:
            waiting = asyncio.create_task(
                reflector.wait_for(("ns", "a"), lambda i: i is not None and i["spec"]["n"] == 2, 5)
            )
            await until(lambda: api_server.watchers == 1)
            api_server.put("a", n=1)
            await until(lambda: names(reflector) == ["a"])
            assert not waiting.done()
            api_server.put("a", n=2)
            assert (await waiting)["spec"] == {"n": 2}
            assert reflector._waiters == {}

    async def test_what_goes_while_the_watch_is_cut(self, api_server, reflecting, until):
        api_server.put("a", n=1)
        async with reflecting() as reflector:
            await until(lambda: api_server.watchers == 1)
            waiting = asyncio.create_task(
                reflector.wait_for(("ns", "a"), lambda item: item is None, 5)
            )
            api_server.silent = True
            api_server.remove("a")
            api_server.forget_history()
            api_server.silent = False
            api_server.disconnect()
            assert await waiting is None

    async def test_not_before_the_first_list(self, api_server, reflecting):
        api_server.refusals = [(500, {})] * 3
        api_server.put("a", n=1)
        async with reflecting() as reflector:
            found = await reflector.wait_for(("ns", "a"), lambda item: True, 5)
            assert found is not None

    async def test_its_deadline(self, api_server, reflecting):
        async with reflecting() as reflector:
            with pytest.raises(TimeoutError):
                await reflector.wait_for(("ns", "a"), lambda item: item is not None, 0.05)
            assert reflector._waiters == {}

    async def test_a_predicate_that_raises(self, api_server, reflecting, until):
        async with reflecting() as reflector:
            waiting = asyncio.create_task(
                reflector.wait_for(("ns", "a"), lambda item: item is not None and item["no"], 5)
            )
            await until(lambda: api_server.watchers == 1)
            api_server.put("a", n=1)
            with pytest.raises(KeyError):
                await waiting
            api_server.put("b", n=1)
            await until(lambda: names(reflector) == ["a", "b"])  # the watch goes on


class TestOwnWrites:
    """`record`: the server's answer to a write, before the watch brings it."""

    async def test_are_seen_at_once_and_reported_once(self, api_server, reflecting, until):
        async with reflecting() as reflector:
            await until(lambda: api_server.watchers == 1)
            api_server.silent = True
            item = api_server.put("a", n=1)
            reflector.record(item)
            assert names(reflector) == ["a"]
            api_server.silent = False
            api_server.put("b", n=1)
            await until(lambda: names(reflector) == ["a", "b"])
            assert [name for name, _, _ in reflector.changes] == ["a", "b"]

    async def test_are_not_undone_by_older_events(self, api_server, reflecting, until):
        async with reflecting() as reflector:
            await until(lambda: api_server.watchers == 1)
            api_server.silent = True
            api_server.put("a", n=1)
            reflector.record(api_server.put("a", n=2))
            api_server.silent = False
            api_server.put("b", n=1)
            await until(lambda: names(reflector) == ["a", "b"])
            assert [change for change in reflector.changes if change[0] == "a"] == [
                ("a", None, {"n": 2})
            ]

    async def test_do_not_bring_back_what_was_deleted_since(self, api_server, reflecting, until):
        async with reflecting() as reflector:
            await until(lambda: api_server.watchers == 1)
            item = api_server.put("a", n=1)
            api_server.remove("a")
            await until(lambda: len(reflector.changes) == 2)
            reflector.record(item)
            assert names(reflector) == []

    async def test_survive_a_list_that_is_older(self, api_server, reflecting, until):
        async with reflecting() as reflector:
            await until(lambda: api_server.watchers == 1)
            listed_at = api_server.version
            api_server.silent = True
            item = api_server.put("a", n=1)
            reflector.record(item)
            assert reflector.store.replace([], str(listed_at)) == []
            assert names(reflector) == ["a"]
            gone = reflector.store.replace([], str(api_server.version))
            assert [change.key.name for change in gone] == ["a"]


async def test_indexes_follow(api_server, reflecting, until):
    by_n = {"n": lambda item: item["spec"].get("n")}
    api_server.put("a", n="one")
    api_server.put("b", n="one")
    api_server.put("c")
    async with reflecting(indexers=by_n) as reflector:
        await until(lambda: api_server.watchers == 1)
        assert {i["metadata"]["name"] for i in reflector.store.by_index("n", "one")} == {"a", "b"}
        api_server.put("a", n="two")
        api_server.remove("b")
        await until(lambda: len(reflector.changes) == 5)
        assert reflector.store.by_index("n", "one") == []
        assert [i["metadata"]["name"] for i in reflector.store.by_index("n", "two")] == ["a"]


async def test_the_copy_is_without_what_only_the_server_reads(api_server, reflecting, until):
    api_server.put("listed")["metadata"]["managedFields"] = [{"manager": "somebody"}]
    async with reflecting() as reflector:
        await reflector.synced(5)
        api_server.put("watched")["metadata"]["managedFields"] = [{"manager": "somebody"}]
        await until(lambda: len(reflector.store) == 2)
        written = api_server.put("written")
        metadata = {**written["metadata"], "managedFields": [{"manager": "me"}]}
        reflector.record({**written, "metadata": metadata})
        for item in reflector.store:
            assert set(item["metadata"]) == {"name", "namespace", "uid", "resourceVersion"}
        assert names(reflector) == ["listed", "watched", "written"]

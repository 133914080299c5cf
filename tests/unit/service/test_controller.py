"""The controller: reconciles what changes, goes on after failures, looks again when asked to."""

import asyncio
import logging
from contextlib import asynccontextmanager

import pytest

from hub_service.kube import ApiError, Controller, Key, Reflector, WorkQueue
from hub_service.kube.backoff import Backoff


@pytest.fixture
def controlling(cluster, thing):
    """Runs a controller over a reflector of things."""

    @asynccontextmanager
    async def run(reconcile, concerns=None, **options):
        reflector = Reflector(cluster, thing, "ns", backoff=lambda: Backoff(0.01, 0.1))
        queue = options.pop("queue", None)
        if queue is None:
            queue = WorkQueue(first_delay=0.01, most_delay=0.05)
        controller = Controller("thing", reconcile(reflector), queue=queue, **options)
        controller.follow(reflector, *([concerns] if concerns else []))
        tasks = [asyncio.create_task(reflector.run()), asyncio.create_task(controller.run())]
        try:
            yield reflector
        finally:
            assert not tasks[1].done()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    return run


async def test_what_was_there_and_what_comes_is_reconciled(api_server, controlling, until):
    seen = []

    def reconcile(reflector):
        async def run(key):
            item = reflector.store.get(key)
            seen.append((str(key), item and item["spec"].get("n")))

        return run

    api_server.put("a", n=1)
    async with controlling(reconcile):
        await until(lambda: seen == [("ns/a", 1)])
        api_server.put("a", n=2)
        await until(lambda: seen[-1] == ("ns/a", 2))
        api_server.remove("a")
        await until(lambda: seen[-1] == ("ns/a", None))


@pytest.mark.parametrize("error", [RuntimeError("broken"), ApiError(500, "Broken", "broken")])
async def test_a_failure_is_logged_with_its_key_and_tried_again(
    api_server, controlling, until, caplog, error
):
    tries = []

    def reconcile(_reflector):
        async def run(key):
            tries.append(key.name)
            if key.name == "bad" and tries.count("bad") < 4:
                raise error

        return run

    api_server.put("bad")
    api_server.put("good")
    with caplog.at_level(logging.WARNING):
        async with controlling(reconcile, workers=1):
            await until(lambda: tries.count("bad") == 4)
    assert "good" in tries[: tries.index("bad") + 2]  # others don't wait for it
    assert sum("thing ns/bad" in record.getMessage() for record in caplog.records) == 3


async def test_it_looks_again_when_asked(api_server, controlling, until):
    times = []

    def reconcile(_reflector):
        async def run(_key):
            times.append(asyncio.get_running_loop().time())
            return 0.05 if len(times) < 3 else None

        return run

    api_server.put("a")
    async with controlling(reconcile):
        await until(lambda: len(times) == 3)
        assert times[2] - times[0] >= 0.09


async def test_a_change_can_concern_other_keys(api_server, controlling, until):
    seen = set()

    def reconcile(_reflector):
        async def run(key):
            seen.add(str(key))

        return run

    def concerns(key, old, new):
        return [Key("ns", owner["spec"]["owner"]) for owner in (old, new) if owner]

    api_server.put("child", owner="first")
    async with controlling(reconcile, concerns):
        await until(lambda: seen == {"ns/first"})
        api_server.put("child", owner="second")
        await until(lambda: seen == {"ns/first", "ns/second"})


async def test_others_may_put_keys_into_its_queue(api_server, controlling, until):
    seen = []

    def reconcile(_reflector):
        async def run(key):
            seen.append(str(key))

        return run

    queue = WorkQueue()
    async with controlling(reconcile, queue=queue):
        queue.add(Key("ns", "from outside"))
        await until(lambda: seen == ["ns/from outside"])

"""The workqueue's promises: each key once, one worker a key, delays, growing delays."""

import asyncio

import pytest

from hub_service.kube import WorkQueue


async def take(queue, seconds=1.0):
    return await asyncio.wait_for(queue.get(), seconds)


async def nothing_comes(queue, seconds=0.05):
    with pytest.raises(TimeoutError):
        await take(queue, seconds)


async def test_a_key_added_twice_comes_once():
    queue = WorkQueue()
    queue.add("a")
    queue.add("a")
    queue.add("b")
    assert len(queue) == 2
    assert [await take(queue), await take(queue)] == ["a", "b"]
    await nothing_comes(queue)


async def test_a_key_added_while_worked_on_comes_after_done():
    queue = WorkQueue()
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    queue.add("a")
    await nothing_comes(queue)  # never with two workers
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    await nothing_comes(queue)


async def test_done_without_new_wish_ends_it():
    queue = WorkQueue()
    queue.add("a")
    queue.done(await take(queue))
    await nothing_comes(queue)


async def test_a_delay_is_kept():
    queue = WorkQueue()
    loop = asyncio.get_running_loop()
    began = loop.time()
    queue.add_after("a", 0.1)
    assert await take(queue) == "a"
    assert loop.time() - began >= 0.09


async def test_the_last_delay_counts():
    queue = WorkQueue()
    queue.add_after("later", 0.02)
    queue.add_after("later", 30)
    queue.add_after("sooner", 30)
    queue.add_after("sooner", 0.02)
    assert await take(queue) == "sooner"
    await nothing_comes(queue)
    queue.close()


async def test_within_a_time_is_once_in_it():
    queue = WorkQueue()
    queue.add_within("a", 0.02)
    for _ in range(5):
        queue.add_within("a", 30)  # doesn't put it off
    assert await take(queue) == "a"
    queue.add_within("a", 0.02)  # while it is worked on
    queue.done("a")
    assert await take(queue) == "a"
    queue.done("a")
    queue.add("a")
    queue.add_within("a", 0.01)  # it is about to be looked at anyway
    assert await take(queue) == "a"
    queue.done("a")
    await nothing_comes(queue)
    queue.add_within("b", 30)
    queue.add_within("b", 0.01)
    assert await take(queue) == "b"
    queue.close()


async def test_a_cancelled_timer_stays_silent():
    queue = WorkQueue()
    queue.add_after("a", 0.01)
    queue.cancel_timer("a")
    await nothing_comes(queue)


async def test_failures_wait_longer_each_time_until_forgotten():
    queue = WorkQueue(first_delay=1, most_delay=5)
    delays = [queue.add_after_failure("a") for _ in range(6)]
    for delay, nominal in zip(delays, [1, 2, 4, 5, 5, 5], strict=True):
        assert 0.75 * nominal <= delay <= 1.25 * nominal
    assert queue.add_after_failure("other") <= 1.25
    queue.forget("a")
    assert queue.add_after_failure("a") <= 1.25
    queue.close()


async def test_a_cancelled_get_loses_nothing():
    queue = WorkQueue()
    waiting = asyncio.create_task(queue.get())
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    queue.add("a")
    assert await take(queue) == "a"


async def test_many_workers_never_share_a_key():
    queue = WorkQueue()
    working, done, most = set(), [], 0

    async def work():
        nonlocal most
        while True:
            key = await queue.get()
            assert key not in working
            working.add(key)
            most = max(most, len(working))
            await asyncio.sleep(0)
            working.discard(key)
            done.append(key)
            queue.done(key)

    workers = [asyncio.create_task(work()) for _ in range(4)]
    for _ in range(50):
        for key in "abcdef":
            queue.add(key)
        await asyncio.sleep(0)
    async with asyncio.timeout(5):
        while len(queue) or working:  # noqa: ASYNC110
            await asyncio.sleep(0)
    assert set(done) == set("abcdef")
    assert most > 1
    assert not [worker for worker in workers if worker.done()]
    for worker in workers:
        worker.cancel()
    await asyncio.gather(*workers, return_exceptions=True)


async def test_urgent_keys_go_first_and_the_others_come_on_as_well():
    queue = WorkQueue(is_urgent=lambda key: key.startswith("u"))
    for number in range(20):
        queue.add(f"o{number}")
        queue.add(f"u{number}")
    taken = [await take(queue) for _ in range(40)]
    assert [key for key in taken if key[0] == "u"] == [f"u{n}" for n in range(20)]
    assert [key for key in taken if key[0] == "o"] == [f"o{n}" for n in range(20)]
    assert 18 <= sum(key[0] == "u" for key in taken[:22]) < 22


async def test_a_key_may_be_less_urgent_the_second_time():
    urgent = {"a", "b"}
    queue = WorkQueue(is_urgent=urgent.__contains__)
    queue.add("a")
    assert await take(queue) == "a"
    queue.add("a")
    urgent.remove("a")
    queue.done("a")
    queue.add("b")
    assert [await take(queue), await take(queue)] == ["b", "a"]

"""Which idle kernels end for those that wait."""

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from hub_service.sharing.line import Waiting
from hub_service.sharing.room import Room
from hub_service.sharing.victims import Holder, victims

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GPU, AMD = "nvidia.com/gpu", "amd.com/gpu"


def amounts(gpus=1, resource=GPU, **others):
    return {resource: Decimal(gpus)} | {name: Decimal(n) for name, n in others.items()}


def waits(key, gpus=1, *, nodes=("n",), resource=GPU, **others):
    wanted = amounts(gpus, resource, **others)
    return Waiting(key, key, NOW, gpus, wanted, resource, frozenset(nodes))


def idle(key, minutes, gpus=1, *, node="n", resource=GPU, **others):
    return Holder(key, node, amounts(gpus, resource, **others), NOW - timedelta(minutes=minutes))


def chosen(waiting, holders, **free):
    room = Room({node: {GPU: Decimal(gpus)} for node, gpus in ({"n": 0} | free).items()})
    return {key: one.key for key, one in victims(waiting, holders, room).items()}


def test_the_longest_idle_goes_and_only_that():
    holders = [idle("short", 5), idle("long", 50), idle("middle", 20)]
    assert chosen([waits("bob")], holders) == {"long": "bob"}


def test_one_for_each_that_waits_and_no_more():
    holders = [idle("a", 5), idle("b", 50), idle("c", 20)]
    assert chosen([waits("x"), waits("y")], holders) == {"b": "x", "c": "y"}
    assert set(chosen([waits(f"x{n}") for n in range(9)], holders)) == {"a", "b", "c"}


def test_nobody_waits_and_none_goes():
    assert chosen([], [idle("a", 500)]) == {}


def test_what_is_free_or_on_its_way_is_taken_first():
    assert chosen([waits("x")], [idle("a", 5)], n=1) == {}
    assert chosen([waits("x"), waits("y")], [idle("a", 5)], n=1) == {"a": "y"}


def test_not_on_a_node_where_it_would_not_fit():
    holders = [idle("there", 50, node="other"), idle("here", 5)]
    assert chosen([waits("x")], holders, other=0) == {"here": "x"}
    assert chosen([waits("x", nodes=())], holders, other=0) == {}


def test_not_for_another_resource():
    assert chosen([waits("x", resource=AMD)], [idle("a", 50)]) == {}


def test_one_that_is_large_enough_goes_rather_than_two():
    holders = [idle("one", 50), idle("two", 20, gpus=2), idle("three", 40)]
    assert chosen([waits("x", gpus=2)], holders) == {"two": "x"}


def test_where_none_is_large_enough_as_few_as_possible_on_one_node():
    holders = [
        idle("a", 90, node="m"), idle("b", 5), idle("c", 50), idle("d", 20, gpus=2),
    ]  # fmt: skip
    assert chosen([waits("x", gpus=3, nodes=("m", "n"))], holders, m=0) == {"c": "x", "d": "x"}
    assert chosen([waits("x", gpus=2, nodes=("m", "n"))], holders[:3], m=0, n=0) == {
        "b": "x", "c": "x",
    }  # fmt: skip


def test_none_goes_where_all_together_would_not_do():
    assert chosen([waits("x", gpus=4)], [idle("a", 5), idle("b", 50)], n=1) == {}


def test_who_can_not_be_helped_does_not_keep_others_from_it():
    assert chosen([waits("huge", gpus=8), waits("x")], [idle("a", 5)]) == {"a": "x"}


def test_none_goes_for_one_that_something_else_may_keep_from_there():
    one = replace(waits("x"), certain=False)
    assert chosen([one, waits("y")], [idle("a", 5), idle("b", 3)]) == {"a": "y"}


def test_what_the_scheduler_lacks_besides_has_to_come_from_those_that_end():
    asks = replace(waits("x", cpu=4), short=frozenset({"cpu"}))
    room = Room({"n": {GPU: Decimal(0), "cpu": Decimal(64)}})
    assert victims([asks], [idle("small", 50, cpu=1)], room) == {}
    holders = [idle("small", 50, cpu=1), idle("large", 5, cpu=4)]
    assert set(victims([asks], holders, room)) == {"large"}


def test_none_goes_for_one_for_which_the_scheduler_ends_others():
    assert chosen([replace(waits("x"), promised=True)], [idle("a", 5)]) == {}


def test_what_a_victim_leaves_over_is_for_the_next():
    assert chosen([waits("x"), waits("y")], [idle("a", 5, gpus=2), idle("b", 3)]) == {"a": "x"}


def test_not_where_it_is_cpus_that_are_lacking():
    holders = [idle("a", 5, cpu=1)]
    room = Room({"n": {GPU: Decimal(1), "cpu": Decimal(0)}})
    assert victims([waits("x", cpu=1)], holders, room) == {}
    # Nor where the GPU would be free, but not the CPUs beside it.
    room = Room({"n": {GPU: Decimal(0), "cpu": Decimal(0)}})
    assert victims([waits("x", cpu=2)], holders, room) == {}
    assert set(victims([waits("x", cpu=1)], holders, room)) == {"a"}


@pytest.mark.parametrize("seed", range(200))
def test_each_that_goes_is_needed_and_helps(seed):
    """Whatever waits and idles: with what is given back, those fit for whom it was."""
    rng = random.Random(seed)
    nodes = ["m", "n", "o"][: rng.randint(1, 3)]
    free = {node: {GPU: Decimal(rng.randint(0, 2))} for node in nodes}
    holders = [
        idle(f"h{n}", rng.randint(1, 99), rng.randint(1, 3), node=rng.choice(nodes))
        for n in range(rng.randint(0, 6))
    ]
    waiting = [
        waits(f"w{n}", rng.randint(1, 4), nodes=rng.sample(nodes, rng.randint(0, len(nodes))))
        for n in range(rng.randint(0, 5))
    ]
    found = victims(waiting, holders, Room(free))
    by_key = {holder.key: holder for holder in holders}
    # In the end no node has given more than it has.
    room = Room(free)
    for key in found:
        room.give(by_key[key].amounts, by_key[key].node)
    for one in waiting:
        mine = [by_key[key] for key, who in found.items() if who is one]
        assert len({holder.node for holder in mine}) <= 1
        assert not mine or mine[0].node in one.nodes
        # None of them could be left out.
        if mine:
            given = sum(holder.amounts[GPU] for holder in mine)
            least = min(holder.amounts[GPU] for holder in mine)
            assert given - least < one.gpus
        assert len(mine) <= one.gpus
    assert sum(by_key[key].amounts[GPU] for key in found) <= sum(one.gpus + 2 for one in waiting)

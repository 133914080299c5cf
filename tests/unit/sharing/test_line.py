"""The fair line, and who of it goes on to the scheduler."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from hub_service.sharing.line import Entrance, Waiting, fair_order
from hub_service.sharing.room import Room

START = datetime(2030, 1, 1, tzinfo=UTC)
GPU = "nvidia.com/gpu"


def start(key, owner=None, gpus=1, *, since=None, nodes=("n",), line="line", **state):
    """Owner and time come from the key, as in `a1`, `a2`, where nothing else is said."""
    return Waiting(
        key=key,
        owner=owner or key[0],
        since=START + timedelta(seconds=int(key[1:]) if since is None else since),
        gpus=gpus,
        amounts={GPU: Decimal(gpus)},
        line=line,
        nodes=None if nodes is None else frozenset(nodes),
        **state,
    )


def keys(waiting):
    return "".join(f"{one.key} " for one in waiting).strip()


ORDERS = {
    "by time, of those who hold nothing": ("b2 a1 c3", {}, "a1 b2 c3"),
    "who holds more comes later": ("a1 b2 c3", {"a": 1}, "b2 c3 a1"),
    "who holds much more comes last": ("a1 b2 b3 c4", {"a": 5}, "b2 c4 b3 a1"),
    "one's second is behind all others' first": ("a1 a2 a3 b4 c5", {}, "a1 b4 c5 a2 a3"),
    "shares even out": ("a1 a2 a3 b4 b5", {"b": 1}, "a1 a2 b4 a3 b5"),
    "nobody waits": ("", {"a": 1}, ""),
}


@pytest.mark.parametrize(("waiting", "held", "order"), ORDERS.values(), ids=ORDERS.keys())
def test_the_fair_order(waiting, held, order):
    everyone = [start(key) for key in waiting.split()]
    assert keys(fair_order(everyone, held)) == order
    assert keys(fair_order(reversed(everyone), held)) == order


def test_gpus_count_not_kernels():
    waiting = [start("a1", gpus=4), start("a2"), start("b3"), start("b4"), start("b5")]
    # After a1 `a` has four, so all three of `b` come before its second.
    assert keys(fair_order(waiting, {})) == "a1 b3 b4 b5 a2"


def test_those_that_the_scheduler_sees_are_ahead_and_count_as_had():
    waiting = [start("a1"), start("b2"), start("a9", released=True)]
    assert keys(fair_order(waiting, {})) == "a9 b2 a1"


def test_a_long_line_is_ordered_in_no_time():
    waiting = [start(f"{owner}{n}") for owner in "abcdefghij" for n in range(500)]
    order = fair_order(waiting, {})
    assert [one.owner for one in order[:20]] == [*"abcdefghij"] * 2
    assert len({one.key for one in order}) == 5000


def entrance(free, most=1, released=()):
    found = Entrance(Room({node: {GPU: Decimal(gpus)} for node, gpus in free.items()}), most)
    for one in released:
        found.note(one)
    return found


def let_in(door, *waiting):
    return [one.key for one in waiting if door.lets_in(one)]


def test_all_that_fit_go_on_and_one_that_does_not():
    line = [start(f"a{n}") for n in range(5)]
    assert let_in(entrance({"n": 2}), *line) == ["a0", "a1", "a2"]
    assert let_in(entrance({"n": 0}), *line) == ["a0"]
    assert let_in(entrance({"n": 9}), *line) == [one.key for one in line]


@pytest.mark.parametrize(("most", "expected"), [(1, 1), (2, 2), (4, 4)])
def test_as_many_that_do_not_fit_as_is_set(most, expected):
    line = [start(f"a{n}") for n in range(5)]
    assert len(let_in(entrance({"n": 0}, most), *line)) == expected


def test_nobody_overtakes_who_is_too_large_for_what_is_free():
    large, small = start("a1", gpus=2), start("b2")
    assert let_in(entrance({"n": 1}), large, small) == ["a1"]
    assert let_in(entrance({"n": 1}, most=2), large, small) == ["a1", "b2"]


def test_those_that_were_let_in_before_count():
    seen = start("a1", released=True)
    assert let_in(entrance({"n": 0}, released=[seen]), start("b2")) == []
    # It has not been looked at yet, and there is room for both.
    assert let_in(entrance({"n": 2}, released=[seen]), start("b2")) == ["b2"]
    assert let_in(entrance({"n": 1}, released=[seen]), start("b2")) == ["b2"]


def test_the_schedulers_word_counts_more_than_what_seems_free():
    refused = start("a1", released=True, refused=True)
    assert let_in(entrance({"n": 8}, released=[refused]), start("b2")) == []
    assert let_in(entrance({"n": 8}, 2, released=[refused]), start("b2"), start("c3")) == ["b2"]


def test_one_for_which_there_is_no_node_at_all_holds_nobody_up():
    hopeless = start("a1", released=True, refused=True, nodes=())
    assert let_in(entrance({"n": 1}, released=[hopeless]), start("b2")) == ["b2"]


def test_one_that_waits_for_something_else_than_what_is_free_holds_nobody_up():
    elsewhere = start("a1", released=True, refused=True, certain=False)
    assert let_in(entrance({"n": 1}, released=[elsewhere]), start("b2")) == ["b2"]
    # While nothing is free it is like any other.
    assert let_in(entrance({"n": 0}, released=[elsewhere]), start("b2")) == []


def test_lines_do_not_wait_for_each_other():
    door = entrance({"n": 0}, released=[start("a1", released=True, refused=True)])
    assert let_in(door, start("b2"), start("c3", line="other")) == ["c3"]


def test_without_knowing_the_nodes_one_goes_on_at_a_time():
    assert let_in(entrance({}), start("a1", nodes=None), start("b2", nodes=None)) == ["a1"]


def test_the_place_that_leaves_the_least_is_taken():
    room = Room({"large": {GPU: Decimal(8)}, "small": {GPU: Decimal(1)}, "none": {GPU: Decimal(0)}})
    assert room.take({GPU: Decimal(1)}, {"large", "small", "none"}) == "small"
    assert room.take({GPU: Decimal(8)}, {"large", "small"}) == "large"
    assert room.take({GPU: Decimal(1)}, {"large", "small"}) is None
    room.give({GPU: Decimal(1)}, "large")
    assert room.take({GPU: Decimal(1)}, {"large", "small"}) == "large"

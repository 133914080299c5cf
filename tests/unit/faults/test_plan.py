"""The fault suite's plan: reproducible, and of every kind enough."""

from __future__ import annotations

from collections import Counter

from tests.faults.plan import Kind, plan


def test_the_same_seed_gives_the_same_faults() -> None:
    assert plan(7, 50, kernels=6) == plan(7, 50, kernels=6)
    assert plan(7, 50, kernels=6) != plan(8, 50, kernels=6)


def test_two_hundred_hold_ten_of_each_kind_and_half_of_them_during_a_cell() -> None:
    faults = plan(7, 200, kernels=6)

    counts = Counter(fault.kind for fault in faults)
    during = Counter(fault.kind for fault in faults if fault.during_a_cell)
    assert set(counts) == set(Kind)
    assert min(counts.values()) >= 10
    assert all(2 * during[kind] >= counts[kind] for kind in Kind)
    assert {fault.target for fault in faults} == set(range(6))
    assert {fault.errand for fault in faults} == set(range(6))


def test_kinds_can_be_chosen() -> None:
    faults = plan(1, 5, kernels=1, kinds=[Kind.HUB_KILLED, Kind.POD_DELETED])
    assert Counter(fault.kind for fault in faults).keys() == {Kind.HUB_KILLED, Kind.POD_DELETED}

"""Decisions about a Lease, by one's own monotonic clock."""

from datetime import UTC, datetime, timedelta, timezone

import pytest

from hub_service.kube import lease
from hub_service.kube.lease import Record, Seen, Timing

TIMING = Timing()
NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


def held(holder, *, duration=15.0, version="7", transitions=3):
    return Record(holder, duration, transitions, "2026-05-01T11:00:00.000000Z", version)


def test_one_that_nobody_has_had_or_that_was_given_back_is_taken_at_once():
    assert lease.wait_to_take(None, "me", TIMING, 100.0) == 0
    assert lease.wait_to_take(Seen(held(None), 100.0), "me", TIMING, 100.0) == 0


def test_ones_own_from_before_a_restart_is_taken_at_once():
    assert lease.wait_to_take(Seen(held("me"), 100.0), "me", TIMING, 100.0) == 0


def test_anothers_is_waited_for_from_the_moment_at_which_it_was_seen_to_change():
    last = Seen(held("you"), 100.0)
    assert lease.wait_to_take(last, "me", TIMING, 101.0) == 14
    assert lease.wait_to_take(last, "me", TIMING, 115.0) == 0
    again = lease.seen(last, held("you"), 110.0)  # unchanged
    assert lease.wait_to_take(again, "me", TIMING, 115.0) == 0
    renewed = lease.seen(last, held("you", version="8"), 110.0)
    assert lease.wait_to_take(renewed, "me", TIMING, 115.0) == 10


def test_the_longer_of_two_durations_counts():
    assert lease.wait_to_take(Seen(held("you", duration=60), 100.0), "me", TIMING, 120.0) == 40
    assert lease.wait_to_take(Seen(held("you", duration=1), 100.0), "me", TIMING, 110.0) == 5


def test_a_holder_counts_from_the_moment_at_which_it_sent():
    assert lease.time_left(None, TIMING, 100.0) == 0
    assert lease.time_left(100.0, TIMING, 109.0) == 1
    assert lease.time_left(100.0, TIMING, 110.0) == 0
    assert lease.time_left(100.0, TIMING, 500.0) == 0


@pytest.mark.parametrize("delay", [0.0, 0.5, 2.9])
@pytest.mark.parametrize("skew", [-1e6, 0.0, 1e6])
def test_a_holder_has_stopped_before_another_may_take_it(delay, skew):
    """Whatever the other's clock shows, and however late the renewal arrived."""
    sent = 100.0
    stopped = sent + TIMING.deadline + TIMING.stop_within
    other_saw = sent + delay + skew
    takes = other_saw + lease.wait_to_take(Seen(held("you"), other_saw), "me", TIMING, other_saw)
    assert stopped < takes - skew


def test_timings_that_would_let_two_act_are_refused():
    with pytest.raises(ValueError, match=r"deadline 14.0 s and stop_within 3.0 s must be less"):
        Timing(deadline=14.0)
    with pytest.raises(ValueError, match="one failure would be the end"):
        Timing(renew=8.0)


def test_taking_says_since_when_and_for_the_how_manieth_time():
    fresh = lease.taken(None, "me", TIMING, NOON)
    assert fresh == {
        "holderIdentity": "me",
        "leaseDurationSeconds": 15,
        "acquireTime": "2026-05-01T12:00:00.000000Z",
        "renewTime": "2026-05-01T12:00:00.000000Z",
        "leaseTransitions": 0,
    }
    over = lease.taken(Seen(held("you"), 0.0), "me", TIMING, NOON)
    assert (over["leaseTransitions"], over["acquireTime"]) == (4, "2026-05-01T12:00:00.000000Z")
    renewed = lease.taken(Seen(held("me"), 0.0), "me", TIMING, NOON)
    assert (renewed["leaseTransitions"], renewed["acquireTime"]) == (
        3,
        "2026-05-01T11:00:00.000000Z",
    )


def test_times_are_written_in_utc_with_six_digits():
    elsewhere = datetime(2026, 5, 1, 14, 0, 0, 1500, tzinfo=timezone(timedelta(hours=2)))
    assert lease.micro_time(elsewhere) == "2026-05-01T12:00:00.001500Z"


def test_a_lease_with_nothing_in_it_is_nobodys():
    record = lease.record_of({"metadata": {"resourceVersion": "5"}, "spec": {"holderIdentity": ""}})
    assert record == Record(None, 0.0, 0, None, "5")

"""What is done about kernels whose heart does not answer."""

from datetime import UTC, datetime, timedelta

import pytest

from hub_service import timestamps
from hub_service.kernels import liveness
from hub_service.kernels.liveness import GiveUp, Keep, Restart, Rule, lost_since

NOW = datetime(2026, 1, 1, tzinfo=UTC)
RULE = Rule(timeout=60, restarts=2)


def before(seconds):
    return NOW - timedelta(seconds=seconds)


def a_kernel(lost=None, *, last=None, running="True", incarnation=0, container=None, **metadata):
    """lost: seconds since when; last: (seconds ago, count, delivered) of the last restart."""
    status = {"incarnation": incarnation, "conditions": [{"type": "Running", "status": running}]}
    if lost is not None:
        status["activity"] = {"heartbeatLostByPod": {"g-1": timestamps.microseconds(before(lost))}}
    if last is not None:
        at, count, delivered = last
        status["restart"] = {
            "id": "x", "at": timestamps.microseconds(before(at)), "count": count,
            "delivered": delivered,
        }  # fmt: skip
    container = {"name": "kernel", "command": ["k"]} if container is None else container
    spec = {"template": {"spec": {"containers": [container]}}}
    return {"metadata": {"name": "k", **metadata}, "spec": spec, "status": status}


def decide(kernel, rule, now):
    return liveness.decide(kernel, lost_since(kernel, ["g-1"]), rule, now)


KEEP = {
    "it answers": (a_kernel(), None),
    "lost just now": (a_kernel(1), before(-59)),
    "it does not run": (a_kernel(99, running="False"), None),
    "it is being deleted": (a_kernel(99, deletionTimestamp="t"), None),
    "the status is another pod's": (a_kernel(99, incarnation=3), None),
    "restarted, and its gateway has not looked since": (a_kernel(99, last=(5, 1, True)), None),
    "lost again, waits twice as long": (a_kernel(61, last=(62, 2, True)), before(-58)),
    "not reached": (a_kernel(99, last=(5, 0, False)), before(-55)),
    "a service that died over it": (a_kernel(99, last=(5, 0, None)), before(-55)),
}
DUE = {
    "lost for long": (a_kernel(60), 1),
    "asked for by its user before": (a_kernel(60, last=(61, 0, True)), 1),
    "lost again": (a_kernel(61, last=(100, 1, True)), 2),
    "had recovered": (a_kernel(61, last=(3600, 2, True)), 1),
    "not reached a minute ago": (a_kernel(99, last=(60, 0, False)), 1),
    "not reached, after another": (a_kernel(99, last=(60, 1, False)), 2),
    "not reached for ten minutes": (a_kernel(659, last=(60, 0, False)), 1),
    "lost for long before the first try": (a_kernel(9999), 1),
}


@pytest.mark.parametrize(("kernel", "until"), KEEP.values(), ids=KEEP)
def test_kept(kernel, until):
    assert decide(kernel, Rule(60, 9), NOW) == Keep(until)


@pytest.mark.parametrize(("kernel", "count"), DUE.values(), ids=DUE)
def test_restarted(kernel, count):
    verdict = decide(kernel, RULE, NOW)
    assert isinstance(verdict, Restart)
    assert verdict.count == count
    assert "UTC, though it was idle: it was restarted." in verdict.message


def test_restarts_are_further_and_further_apart():
    waits = []
    for count in (1, 2, 3, 4):
        verdict = decide(a_kernel(60, last=(60.001, count, True)), Rule(1, 9), NOW)
        waits.append(
            (verdict.until - before(60.001)).total_seconds() if isinstance(verdict, Keep) else 0
        )
    assert waits == [0, 120, 240, 480]


@pytest.mark.parametrize(
    ("kernel", "rule", "words"),
    [
        (a_kernel(61, last=(62, 2, True)), RULE, "was restarted 2 times"),
        (a_kernel(61), Rule(60, 0), "is not restarted by itself"),
        (a_kernel(660, last=(60, 0, False)), RULE, "could not be restarted"),
        (a_kernel(660, last=(60, 0, None)), RULE, "could not be restarted"),
        (a_kernel(61, container={"name": "kernel"}), RULE, "names no command"),
    ],
)
def test_given_up(kernel, rule, words):
    verdict = decide(kernel, rule, NOW)
    assert isinstance(verdict, GiveUp)
    assert words in verdict.message


def test_never_where_the_administrator_says_so():
    assert decide(a_kernel(1e6), Rule(0, 3), NOW) == Keep()


@pytest.mark.parametrize(
    ("said", "pods", "since"),
    [
        ({}, ["g-1"], None),
        ({"g-1": 30}, [], None),  # nobody serves it
        ({"g-1": 30}, ["g-1"], 30),
        ({"g-1": 30}, ["g-1", "g-2"], None),  # the other hears it, or may be about to
        ({"g-1": 30, "g-2": 20}, ["g-1", "g-2"], 20),
        ({"g-1": 30, "gone": 90}, ["g-1"], 30),
        ({"gone": 90}, ["g-1"], None),
    ],
)
def test_lost_is_what_all_say_that_serve_it(said, pods, since):
    kernel = a_kernel()
    reports = {pod: timestamps.microseconds(before(seconds)) for pod, seconds in said.items()}
    kernel["status"]["activity"] = {"heartbeatLostByPod": reports}
    assert lost_since(kernel, pods) == (None if since is None else before(since))

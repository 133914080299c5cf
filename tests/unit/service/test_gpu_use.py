"""What Prometheus is asked of GPUs, and what follows from it for kernels."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from hub_service import culling, timestamps
from hub_service.culling import Activity, Confirm, Keep, Policy
from hub_service.gpu_use.series import Series
from hub_service.gpu_use.use import Known, Rule, observed, unused_since
from hub_service.settings.gpu_use import GpuUseSettings

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
POD = ("users", "kernel-1")
SERIES = Series("DCGM_FI_DEV_GPU_UTIL", 5, "namespace", "pod", 15)
RULE = Rule(timedelta(seconds=75), timedelta(minutes=2), True, timedelta(hours=1))
IDLE = Activity(NOW - timedelta(minutes=30))


def ago(minutes):
    return NOW - timedelta(minutes=minutes)


def a_kernel(gpus=1, started=180):
    return {
        "metadata": {"name": "kernel-1", "namespace": "users", "uid": "u"},
        "spec": {},
        "status": {
            "phase": "Running",
            "gpus": gpus,
            "podName": "kernel-1",
            "startTime": timestamps.seconds(ago(started)),
        },
    }


def known(last=None, at=0.5, measured=(POD,)):
    return Known(ago(at), {} if last is None else {POD: ago(last)}, frozenset(measured))


def decided(activity):
    policy = Policy(idle_timeout=1200)
    return culling.decide(a_kernel(), activity, policy, None, NOW)


def test_a_gpu_in_use_puts_off_the_end_of_a_kernel_that_is_idle_for_its_gateway():
    assert isinstance(decided(IDLE), Confirm)
    activity = observed(a_kernel(), IDLE, known(last=5), RULE, NOW)
    assert activity == Activity(ago(5))
    assert decided(activity) == Keep(ago(5) + timedelta(seconds=1200), "until 12:15:00 UTC")


def test_a_gpu_that_was_in_use_at_the_last_answer_is_in_use_until_the_next_one():
    # However short the time-out.
    activity = observed(a_kernel(), IDLE, known(last=1.5), RULE, NOW)
    assert activity == Activity(None, "idle, but its GPUs are in use")
    assert decided(activity) == Keep(None, "idle, but its GPUs are in use")


def test_a_gpu_that_was_in_use_before_the_last_cell_changes_nothing():
    assert observed(a_kernel(), IDLE, known(last=40), RULE, NOW) == IDLE


@pytest.mark.parametrize(
    "activity", [Activity(None, "busy"), Activity(None, "waiting for input")], ids=str
)
def test_what_is_at_work_stays_so_whatever_its_gpu_does(activity):
    assert observed(a_kernel(), activity, known(), RULE, NOW) == activity


@pytest.mark.parametrize("answer", [None, known(last=1, at=3)], ids=["none", "old"])
def test_what_is_not_known_is_not_idle(answer):
    activity = observed(a_kernel(), IDLE, answer, RULE, NOW)
    assert activity.idle_since is None
    assert isinstance(decided(activity), Keep)
    ignoring = Rule(timedelta(seconds=75), timedelta(minutes=2), False, None)
    assert observed(a_kernel(), IDLE, answer, ignoring, NOW) == IDLE


def test_a_pod_without_samples_and_a_kernel_without_gpus_are_as_without_prometheus():
    assert observed(a_kernel(), IDLE, known(measured=()), RULE, NOW) == IDLE
    assert observed(a_kernel(gpus=0), IDLE, None, RULE, NOW) == IDLE


@pytest.mark.parametrize(
    ("kernel", "answer", "since"),
    [
        (a_kernel(), known(last=59), None),
        (a_kernel(), known(last=61), ago(61)),
        (a_kernel(started=180), known(), ago(180)),
        (a_kernel(started=30), known(), None),
        # Of the pod before.
        (a_kernel(started=70), known(last=100), ago(70)),
        (a_kernel(), known(measured=()), None),
        (a_kernel(gpus=0), known(), None),
    ],
)
def test_since_when_gpus_do_nothing(kernel, answer, since):
    assert unused_since(kernel, answer, RULE) == since


def test_a_later_answer_adds_to_what_was_known_of_pods_that_are_still_there():
    gone = ("users", "gone")
    first = Known(ago(2), {POD: ago(10), gone: ago(5)}, frozenset({POD, gone}))
    second = first.followed_by(ago(1), {}, frozenset({POD}))
    assert second == Known(ago(1), {POD: ago(10)}, frozenset({POD}))
    assert second.followed_by(NOW, {POD: ago(1)}, frozenset({POD})).last_used == {POD: ago(1)}


def test_the_questions():
    gauge = 'DCGM_FI_DEV_GPU_UTIL{pod!=""}'
    assert SERIES.last_used(90) == (
        f"max by (namespace, pod) (max_over_time((timestamp({gauge}) and ({gauge} > 5))[90s:15s]))"
    )
    renamed = GpuUseSettings(namespace_label="exported_namespace", pod_label="exported_pod").series
    assert "by (exported_namespace, exported_pod)" in renamed.measured


def answer(*results, kind="vector", status="success"):
    return json.dumps({"status": status, "data": {"resultType": kind, "result": results}}).encode()


def test_an_answer():
    one = {"metric": {"namespace": "users", "pod": "kernel-1"}, "value": [1.5, "1795435200.5"]}
    moment = datetime.fromtimestamp(1795435200.5, UTC)
    assert SERIES.moments(answer(one)) == {POD: moment}
    assert SERIES.values(answer()) == {}


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"<html>", "Expecting value"),
        (b"[]", "not an answer of Prometheus"),
        (b'{"status": "error", "error": "query timed out"}', "query timed out"),
        (answer(kind="matrix"), "a matrix, not a vector"),
        (answer({"metric": {}, "value": []}), "not an answer of Prometheus"),
        (answer({"metric": {}, "value": [1, "much"]}), "could not convert"),
    ],
)
def test_what_is_no_answer_is_an_error(body, words):
    with pytest.raises(ValueError, match=words):
        SERIES.values(body)


@pytest.mark.parametrize(
    ("written", "field"),
    [
        ({"prometheusUrl": "prometheus:9090"}, "prometheusUrl"),
        ({"metric": "up{}"}, "metric"),
        ({"podLabel": "pod name"}, "podLabel"),
        ({"interval": 1}, "interval"),
        ({"whenUnknown": "cull"}, "whenUnknown"),
    ],
)
def test_settings_that_can_not_be_are_refused(written, field):
    with pytest.raises(ValueError, match=field):
        GpuUseSettings.model_validate(written)

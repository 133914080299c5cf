"""How many warm pods there are to be."""

from __future__ import annotations

from datetime import timedelta

from hub_service.kinds import name_of
from hub_service.warm import pods
from hub_service.warm.pool import RETRY, plan
from tests.unit.service.kernels import NOW, STAMP
from tests.unit.service.test_warm_pods import a_spec, a_template, of_nobody, waiting

GPU = a_template({"resources": {"limits": {"nvidia.com/gpu": 1}}})


def wanted(template=None):
    return pods.of_spec(a_spec(), of_nobody(template))


def names(items):
    return [name_of(item) for item in items]


def failed(name="f"):
    pod = waiting(name=name)
    ended = {"exitCode": 1, "finishedAt": STAMP, "message": "No module named 'x'"}
    state = {"terminated": ended}
    pod["status"] = {
        "phase": "Failed",
        "containerStatuses": [{"name": "kernel", "state": state}],
    }
    return pod


def pending(template=None, name="p"):
    pod = waiting(template, name=name, ready=False)
    pod["status"] = {"phase": "Pending"}
    del pod["spec"]["nodeName"]
    return pod


def test_those_that_are_missing_are_made():
    found = plan([waiting()], wanted(), 3, NOW)
    assert (found.create, found.delete, found.ready) == (2, [], 1)
    assert found.message == "1 of 3 ready."


def test_those_too_many_go_the_ready_ones_last():
    there = [waiting(name="a", ready=False), waiting(name="b"), waiting(name="c", ready=False)]
    found = plan(there, wanted(), 1, NOW)
    assert (found.create, names(found.delete)) == (0, ["a", "c"])


def test_those_of_an_earlier_spec_are_replaced():
    other = waiting(a_template({"image": "kernel:0"}))
    found = plan([other], wanted(), 1, NOW)
    assert (found.create, found.delete) == (1, [other])


def test_all_go_where_there_can_be_none():
    there = [waiting(), failed()]
    found = plan(there, None, 2, NOW, problem="Because.")
    assert (found.create, found.delete, found.message) == (0, there, "Because.")


def test_those_that_are_going_are_replaced_and_left_alone():
    pod = waiting()
    pod["metadata"]["deletionTimestamp"] = STAMP
    assert plan([pod], wanted(), 1, NOW)[:2] == (1, [])


class TestOneThatFailed:
    def test_says_why_and_is_not_tried_again_at_once(self):
        found = plan([failed()], wanted(), 1, NOW)
        assert (found.create, found.delete) == (0, [])
        assert found.again == NOW + RETRY
        assert "f failed:" in found.message
        assert "No module named 'x'" in found.message

    def test_is_replaced_later(self):
        found = plan([failed()], wanted(), 1, NOW + RETRY)
        assert (found.create, names(found.delete), found.again) == (1, ["f"], None)

    def test_leaves_the_others(self):
        found = plan([failed(), waiting(), pending()], wanted(), 3, NOW + timedelta(seconds=1))
        assert (found.create, found.delete, found.ready) == (0, [], 1)


class TestWhileOthersWait:
    def test_none_is_made(self):
        found = plan([waiting()], wanted(), 2, NOW, others_wait=True)
        assert (found.create, found.delete, found.ready) == (0, [], 1)
        assert "while kernels wait" in found.message

    def test_those_without_a_node_make_way(self):
        found = plan([pending()], wanted(), 1, NOW, others_wait=True)
        assert (found.create, names(found.delete)) == (0, ["p"])

    def test_those_with_a_gpu_make_way(self):
        found = plan([waiting(GPU)], wanted(GPU), 1, NOW, others_wait=True)
        assert (found.create, names(found.delete)) == (0, ["py-warm-1"])

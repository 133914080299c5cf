"""Which Events a kernel's change is worth."""

from datetime import UTC, datetime

from hub_service.kernels.kernel_events import of_change

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def a_kernel(**conditions):
    entries = [
        {"type": kind, "status": status, "reason": reason, "message": f"{reason}!"}
        for kind, (status, reason) in conditions.items()
    ]
    return {
        "metadata": {"name": "kernel-1", "namespace": "users", "uid": "u"},
        "status": {"conditions": entries, "incarnation": 0},
    }


def told(before, after):
    return [(event["type"], event["reason"]) for event in of_change(before, after, NOW)]


NEW = a_kernel()
ADMITTED = a_kernel(Admitted=("True", "WithinQuota"), Running=("False", "PodPending"))
IN_LINE = a_kernel(Admitted=("True", "WithinQuota"), Running=("False", "Unschedulable"))
PULLING = a_kernel(Admitted=("True", "WithinQuota"), Running=("False", "PullingImage"))
FAILED = a_kernel(Running=("False", "Ended"), Failed=("True", "ImageNotFound"))


def test_a_start():
    assert told(NEW, ADMITTED) == []
    assert told(ADMITTED, IN_LINE) == [("Warning", "Unschedulable")]
    assert told(IN_LINE, PULLING) == [("Normal", "PullingImage")]
    assert told(PULLING, a_kernel(Running=("True", "PodRunning"))) == []
    answers = a_kernel(Running=("True", "Answering"))
    assert told(PULLING, answers) == [("Normal", "Answering")]
    assert told(answers, answers) == []


def test_ends():
    assert told(PULLING, FAILED) == [("Warning", "ImageNotFound")]
    refused = a_kernel(Admitted=("False", "QuotaExceeded"))
    assert told(NEW, refused) == [("Warning", "QuotaExceeded")]
    assert told(NEW, a_kernel(Culled=("True", "Idle"))) == [("Normal", "Idle")]
    assert told(NEW, a_kernel(Succeeded=("True", "Completed"))) == [("Normal", "Completed")]
    corrected = a_kernel(TemplateAccepted=("True", "Corrected"))
    assert told(NEW, corrected) == [("Normal", "Corrected")]


def test_a_message_alone_is_no_news():
    changed = a_kernel(Running=("False", "Unschedulable"))
    changed["status"]["conditions"][0]["message"] = "3 kernels wait before this one"
    assert told(IN_LINE, changed) == []


def test_where_it_is_and_what_it_says():
    (event,) = of_change(PULLING, FAILED, NOW)
    assert event["metadata"]["namespace"] == "users"
    assert event["metadata"]["name"].startswith("kernel-1.")
    about = event["involvedObject"]
    assert (about["kind"], about["name"], about["uid"]) == ("JupyterKernel", "kernel-1", "u")
    assert event["message"] == "ImageNotFound!"
    assert event["firstTimestamp"] == event["lastTimestamp"] == "2030-01-01T00:00:00Z"
    # Written again by a service that was interrupted, it is the same one.
    assert of_change(PULLING, FAILED, NOW) == [event]


def test_that_its_user_is_told_of_its_end_is_an_event_each_time():
    answers = a_kernel(Running=("True", "Answering"))

    def warned(moment):
        noted = {"message": "It ends soon.", "warnedAt": moment}
        return {**answers, "status": {**answers["status"], "culling": noted}}

    (event,) = of_change(answers, warned("2030-01-01T00:00:00Z"), NOW)
    assert (event["type"], event["reason"], event["message"]) == (
        "Warning",
        "CullWarning",
        "It ends soon.",
    )
    assert told(warned("2030-01-01T00:00:00Z"), warned("2030-01-01T00:00:00Z")) == []
    assert len(told(warned("2030-01-01T00:00:00Z"), warned("2030-01-01T01:00:00Z"))) == 1
    assert told(warned("2030-01-01T00:00:00Z"), answers) == []

"""The judge of the quota's races finds a limit that was passed, however short the time."""

from tests.quota_races.history import Event, Peak, peaks


def kernel(version, uid, phase=None, type_="MODIFIED", owner="ada", deleting=False):
    item = {"metadata": {"uid": uid}, "spec": {"owner": owner}}
    if deleting:
        item["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    if phase:
        admitted = "False" if phase == "Refused" else "True"
        item["status"] = {"phase": phase, "conditions": [{"type": "Admitted", "status": admitted}]}
    return Event(version, "JupyterKernel", type_, item)


def pod(version, of, type_="ADDED"):
    owner = {"kind": "JupyterKernel", "uid": of, "name": of, "controller": True}
    return Event(version, "Pod", type_, {"metadata": {"uid": "p", "ownerReferences": [owner]}})


def test_a_kernel_counts_from_its_pod_to_its_end():
    events = [
        kernel(1, "a"),
        kernel(2, "b"),
        pod(3, "a"),
        kernel(4, "a", "Pending"),
        kernel(5, "a", "Running", type_="DELETED"),
        pod(6, "b"),
        pod(7, "a", "MODIFIED"),  # on its way out
        kernel(8, "b", "Failed"),
        kernel(9, "c", "Pending"),
    ]
    assert peaks(events) == {"ada": Peak(1, 3)}


def test_two_at_a_time_are_found_whatever_the_order_they_were_heard_in():
    events = [
        kernel(5, "a", "Running", type_="DELETED"),
        kernel(1, "a"),
        kernel(2, "b"),
        pod(3, "a"),
        pod(4, "b"),
        kernel(6, "c", "Pending", owner="bob"),
    ]
    assert peaks(events) == {"ada": Peak(2, 4), "bob": Peak(1, 6)}


def test_what_is_being_deleted_or_refused_does_not_count():
    events = [
        kernel(1, "a", "Refused"),
        kernel(2, "b", "Pending"),
        kernel(3, "b", "Pending", deleting=True),
        kernel(4, "c", "Pending"),
    ]
    assert peaks(events) == {"ada": Peak(1, 2)}

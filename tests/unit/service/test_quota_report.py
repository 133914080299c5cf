"""What is used of the limits, as the API and the page show it."""

from datetime import UTC, datetime
from decimal import Decimal

from hub_service.hub.groups import Group, Groups
from hub_service.quotas import quota_report
from hub_service.quotas.limits import Limit, Policy, Source
from hub_service.quotas.quota import Rules

NOW = datetime(2030, 1, 1, tzinfo=UTC)
GPU = "nvidia.com/gpu"
POLICY = Policy({"kernels": Decimal(2)}, {})


def kernel(name, phase=None, deleting=False, **requests):
    item = {
        "metadata": {"name": name, "namespace": "users", "uid": name},
        "spec": {"template": {"spec": {"containers": [{"resources": {"requests": requests}}]}}},
    }
    if deleting:
        item["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    if phase:
        admitted = {"type": "Admitted", "status": "False" if phase == "Refused" else "True"}
        item["status"] = {"phase": phase, "incarnation": 0, "conditions": [admitted]}
    return item


KERNELS = [
    kernel("runs", "Running", cpu="1500m", memory="1Gi"),
    kernel("starts", "Pending", **{GPU: "1"}),
    kernel("waits", **{GPU: "2"}),
    kernel("ended", "Failed", **{GPU: "9"}),
    kernel("refused", "Refused", **{GPU: "9"}),
    kernel("goes", "Running", deleting=True, **{GPU: "9"}),
]


def test_what_is_held_what_waits_and_what_is_over():
    group = Group("few", frozenset({"ada"}), {"elastic.kernels": "1", "elastic.memory": "2Gi"})
    uses = quota_report.uses("ada", Groups([group]), KERNELS, POLICY)
    of_few = Source("group", "few")
    assert [tuple(use) for use in uses] == [
        ("kernels", Limit(Decimal(1), of_few), 2, 1),
        ("cpu", None, Decimal("1.5"), 0),
        ("memory", Limit(Decimal(2**31), of_few), 2**30, 0),
        (GPU, None, 1, 2),
    ]
    assert [use.is_over for use in uses] == [True, False, False, False]


def test_before_the_hub_has_told_its_groups():
    model = quota_report.model("ada", None, KERNELS, POLICY, Rules(), NOW)
    assert (model["groups_known"], model["groups"]) == (False, [])
    assert model["resources"]["cpu"] == {
        "limit": None, "used": 1.5, "waiting": 0, "over": False, "set_by": None,
    }  # fmt: skip
    assert [(item["name"], item["waits"]) for item in model["kernels"]] == [
        ("runs", False),
        ("starts", False),
        ("waits", True),
    ]

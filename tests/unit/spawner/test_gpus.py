"""A notebook pod holds no GPU, wherever the request for one stood."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from elastic_spawner.gpus import without_gpus

DEFAULTS: dict[str, Any] = {
    "resources": ["nvidia.com/*", "amd.com/*", "gpu.intel.com/*"],
    "runtime_classes": ["nvidia*"],
    "resource_claims": True,
}

VOID = {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"}


def container(**fields: Any) -> dict[str, Any]:
    return {"name": "notebook", "image": "notebook", **fields}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("nvidia.com/gpu", True),
        ("nvidia.com/mig-1g.5gb", True),
        ("amd.com/gpu", True),
        ("gpu.intel.com/i915", True),
        ("cpu", False),
        ("memory", False),
        ("example.com/nvidia.com", False),
        ("rdma/hca", False),
    ],
)
@pytest.mark.parametrize("where", ["containers", "initContainers"])
def test_requests_and_limits_of_gpus_go_and_others_stay(
    name: str, expected: bool, where: str
) -> None:
    resources = {"requests": {name: "1"}, "limits": {name: "1"}}
    spec = {"containers": [container()]}
    spec[where] = [container(resources=resources)]

    result, removed = without_gpus(spec, **DEFAULTS)

    left = result[where][0]["resources"]
    assert (name not in left["requests"]) is expected
    assert (name not in left["limits"]) is expected
    assert removed == ([f"{name}: 1 of container notebook"] if expected else [])


def test_pod_level_resources_claims_and_runtime_class_go() -> None:
    spec = {
        "runtimeClassName": "nvidia-cdi",
        "resources": {"limits": {"nvidia.com/gpu": 2, "cpu": "1"}},
        "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one-gpu"}],
        "containers": [container(resources={"claims": [{"name": "gpu"}]})],
    }

    result, removed = without_gpus(spec, **DEFAULTS)

    assert "runtimeClassName" not in result
    assert "resourceClaims" not in result
    assert result["resources"] == {"limits": {"cpu": "1"}}
    assert "claims" not in result["containers"][0]["resources"]
    assert removed == [
        "resource claims of container notebook",
        "nvidia.com/gpu: 2 of the pod",
        "resource claim gpu",
        "runtime class nvidia-cdi",
    ]


def test_claims_stay_where_the_administrator_keeps_them() -> None:
    spec = {
        "runtimeClassName": "gvisor",
        "resourceClaims": [{"name": "nic"}],
        "containers": [container(resources={"claims": [{"name": "nic"}]})],
    }

    result, removed = without_gpus(spec, **{**DEFAULTS, "resource_claims": False})

    assert removed == []
    assert result["resourceClaims"] == [{"name": "nic"}]
    assert result["runtimeClassName"] == "gvisor"


def test_every_container_is_shown_no_device() -> None:
    spec = {
        "initContainers": [container()],
        "containers": [
            container(env=[{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]),
            container(env=[{"name": "A", "value": "b"}]),
        ],
    }

    result, _ = without_gpus(spec, **DEFAULTS)

    assert result["initContainers"][0]["env"] == [VOID]
    assert result["containers"][0]["env"] == [VOID]
    assert result["containers"][1]["env"] == [{"name": "A", "value": "b"}, VOID]


def test_the_argument_is_left_alone_and_a_second_time_changes_nothing() -> None:
    spec = {"containers": [container(resources={"limits": {"nvidia.com/gpu": "1"}})]}
    before = deepcopy(spec)

    once, _ = without_gpus(spec, **DEFAULTS)
    twice, removed = without_gpus(once, **DEFAULTS)

    assert spec == before
    assert twice == once
    assert removed == []


def test_absent_and_null_fields_are_no_trouble() -> None:
    spec = {
        "initContainers": None,
        "containers": [container(resources=None, env=None), container(resources={"limits": None})],
    }

    _, removed = without_gpus(spec, **DEFAULTS)

    assert removed == []

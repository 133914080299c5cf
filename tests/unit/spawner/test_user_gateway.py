"""A user's own gateway: what is applied, and what its status means for the start."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from elastic_spawner.user_gateway import (
    Choice,
    ProfileError,
    is_ours,
    name,
    readiness,
    refuse_unless_enforceable,
    resource,
)
from hub_service import kinds

NOTHING = Choice()
NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
SPEC = {"image": "elastic/gateway:dev", "kernels": ["r", "python"], "defaultKernel": "python"}


def build(server: str = "", choice: Choice = NOTHING, named: str = "shared") -> dict[str, Any]:
    return resource("Ada@x", server, "users", SPEC, named_servers=named, choice=choice, now=NOW)


def test_a_gateway_says_whose_it_is() -> None:
    made = build()

    assert made["spec"] == {**SPEC, "owner": "Ada@x"}
    assert made["metadata"]["name"] == name("Ada@x", "", named_servers="shared", choice=NOTHING)
    assert made["metadata"]["labels"][kinds.LABEL_OWNER].startswith("ada-x-")
    assert made["metadata"]["annotations"] == {
        kinds.ANNOTATION_STARTED: "2026-01-02T03:04:05.000000Z"
    }
    assert is_ours(made)
    assert not is_ours({"metadata": {"labels": {kinds.LABEL_MANAGED_BY: kinds.MANAGER}}})


def test_named_servers_share_a_gateway_or_have_one_each() -> None:
    def names(setting: str, choice: Choice = NOTHING) -> set[str]:
        servers = ("", "a", "b")
        return {name("ada", server, named_servers=setting, choice=choice) for server in servers}

    assert len(names("shared")) == 1
    assert len(names("separate")) == 3
    assert len(names("shared", Choice(kernels=("r",)))) == 3
    separate = build("second", named="separate")["metadata"]
    assert separate["annotations"][kinds.ANNOTATION_SERVER] == "second"
    assert separate["labels"][kinds.LABEL_SERVER] == "second"


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (Choice(kernels=("r",)), {"image": "elastic/gateway:dev", "kernels": ["r"]}),
        (Choice(kernels=("r", "python")), {**SPEC, "kernels": ["r", "python"]}),
        (Choice(default_kernel="r"), {**SPEC, "defaultKernel": "r"}),
        (Choice(cull_idle_timeout=0), {**SPEC, "cullIdleTimeout": 0}),
    ],
)
def test_a_profile_changes_what_it_names(choice: Choice, expected: dict[str, Any]) -> None:
    assert choice.applied_to(SPEC) == expected
    assert SPEC["kernels"] == ["r", "python"]


@pytest.mark.parametrize("mode", ["shared", "none"])
def test_a_limit_that_would_bind_nobody_is_refused(mode: str) -> None:
    with pytest.raises(ProfileError, match=r"gateway_kernels.*gateway_mode is '.*'.*per-user"):
        refuse_unless_enforceable(mode, Choice(kernels=("python",)))
    refuse_unless_enforceable(mode, NOTHING)
    refuse_unless_enforceable("per-user", Choice(kernels=("python",)))


def status(**conditions: str) -> dict[str, Any]:
    listed = [
        {"type": kind, "status": value, "message": f"about {kind}"}
        for kind, value in conditions.items()
    ]
    return {"metadata": {"generation": 2}, "status": {"conditions": listed}}


@pytest.mark.parametrize(
    ("item", "observed", "expected"),
    [
        (None, 0, (False, True, "The gateway was deleted.")),
        (status(), 0, (False, False, "The service has not taken it up yet.")),
        (status(Available="True"), 1, (False, False, "The service has not taken it up yet.")),
        (status(Available="False"), 2, (False, False, "about Available")),
        (status(Available="True", Accepted="True"), 2, (True, False, "about Available")),
        (status(Available="True", Accepted="False"), 2, (False, True, "about Accepted")),
    ],
)
def test_a_status_counts_for_the_spec_that_it_speaks_of(
    item: dict[str, Any] | None, observed: int, expected: tuple[bool, bool, str]
) -> None:
    if item is not None:
        item["status"]["observedGeneration"] = observed
    result = readiness(item)
    assert (result.ready, result.failed, result.message) == expected

"""What a client's environment may bring into a kernel."""

from __future__ import annotations

from typing import Any

import pytest

from elastic_spawner.gateway.environment import (
    ClientEnvironment,
    dropped_annotation,
    filter_environment,
    start_timeout,
    working_directory,
)
from hub_service.kernelspecs.parameters import RESERVED_VARIABLES


def test_only_what_the_spec_declares_passes() -> None:
    env = {"KERNEL_A": "1", "KERNEL_B": "2", "PATH": "/evil", "LD_PRELOAD": "x", "KERNEL_C": 5}
    result = filter_environment(env, ["KERNEL_A", "KERNEL_D", "PATH"], {})
    assert result.accepted == {"KERNEL_A": "1"}
    assert result.dropped == ["KERNEL_B", "KERNEL_C"]


@pytest.mark.parametrize(
    "name", sorted(RESERVED_VARIABLES - {"KERNEL_LAUNCH_TIMEOUT", "KERNEL_WORKING_DIR"})
)
def test_what_is_reserved_is_refused_unless_it_says_what_is_so(name: str) -> None:
    with pytest.raises(ValueError, match=rf"env\.{name} \('x'\) is not for clients to choose: "):
        filter_environment({name: "x"}, [name], {})
    with pytest.raises(ValueError, match=rf"env\.{name} \('x'\) is 'y' here: remove {name} from"):
        filter_environment({name: "x"}, [name], {name: "y"})
    for value in ("y", "", None):
        assert filter_environment({name: value}, [name], {name: "y"}) == ClientEnvironment({}, [])


def test_a_time_out_is_heeded_and_not_passed_on() -> None:
    env = {"KERNEL_LAUNCH_TIMEOUT": "40"}
    assert filter_environment(env, list(env), {}) == ClientEnvironment({}, [])


def test_what_is_written_down_of_dropped_variables_are_names() -> None:
    names = ["KERNEL_A", "KERNEL_\n", "KERNEL_" + "B" * 60, *(f"KERNEL_{n}" for n in range(50))]
    noted = dropped_annotation(names).split(",")
    assert noted[:2] == ["KERNEL_A", "KERNEL_0"]
    assert len(noted) == 20


@pytest.mark.parametrize("value", [5, None, ["x"], "x" * 4097, "a\0b"])
def test_a_value_that_cannot_be_used_is_named(value: Any) -> None:
    with pytest.raises(ValueError, match=r"env\.KERNEL_A "):
        filter_environment({"KERNEL_A": value}, ["KERNEL_A"], {})


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({}, 300.0),
        ({"KERNEL_LAUNCH_TIMEOUT": "40"}, 40.0),
        ({"KERNEL_LAUNCH_TIMEOUT": 40}, 40.0),
        ({"KERNEL_LAUNCH_TIMEOUT": "4000"}, 300.0),
    ],
)
def test_a_start_takes_no_longer_than_its_client_waits(env: dict[str, Any], seconds: float) -> None:
    assert start_timeout(env, 300.0) == seconds


@pytest.mark.parametrize("text", ["", "soon", "0", "-1", "nan", [], None.__class__])
def test_a_timeout_that_is_none_is_named(text: Any) -> None:
    with pytest.raises(ValueError, match="KERNEL_LAUNCH_TIMEOUT"):
        start_timeout({"KERNEL_LAUNCH_TIMEOUT": text}, 300.0)


@pytest.mark.parametrize(
    ("given", "folder"),
    [
        (None, None),
        ("", None),
        ("/home/jovyan/course", "/home/jovyan/course"),
        ("/home/jovyan/./a//b/", "/home/jovyan/a/b"),
        ("//home/jovyan", "/home/jovyan"),
        ("/home/jovyan/$(id) `x`\n;", "/home/jovyan/$(id) `x`\n;"),
        ("/home/jovyan/..hidden", "/home/jovyan/..hidden"),
        ("/", "/"),
    ],
)
def test_the_notebooks_folder(given: str | None, folder: str | None) -> None:
    env = {} if given is None else {"KERNEL_WORKING_DIR": given}
    assert working_directory(env) == folder
    assert filter_environment(env, [], {}).dropped == []


@pytest.mark.parametrize(
    "given",
    ["course", "../x", "/home/../etc", "/home/jovyan/..", 5, ["/x"], "/x\0y", "/" + "x" * 4096],
)
def test_a_folder_that_is_no_absolute_path_is_named(given: Any) -> None:
    with pytest.raises(ValueError, match="KERNEL_WORKING_DIR"):
        working_directory({"KERNEL_WORKING_DIR": given})

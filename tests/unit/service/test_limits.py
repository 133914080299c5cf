"""Which limit counts, and what an administrator can write on a group's page."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub_service.hub.groups import Group
from hub_service.quotas import limits
from hub_service.quotas.limits import Limit, Policy, Source

GPU = "nvidia.com/gpu"
DEFAULT = Source("default")


def group(name, **properties):
    return Group(name, frozenset({"ada"}), {k.replace("__", "."): v for k, v in properties.items()})


def of_ada(*groups, default=None, users=None):
    return limits.of_user("ada", groups, Policy(default or {"kernels": Decimal(2)}, users or {}))


def test_the_default():
    assert of_ada() == {"kernels": Limit(Decimal(2), DEFAULT)}


def test_a_groups_counts_before_the_default_even_if_it_is_less():
    assert of_ada(group("one", elastic__kernels="1")) == {
        "kernels": Limit(Decimal(1), Source("group", "one"))
    }


def test_of_several_groups_the_most_generous_counts_for_each_resource():
    found = of_ada(
        group("gpus", elastic__kernels="3", **{"elastic.nvidia.com/gpu": "1"}),
        group("more", elastic__kernels="8"),
        group("lab", **{"elastic.nvidia.com/gpu": "4", "elastic.memory": "64Gi"}),
        group("empty"),
    )
    assert found == {
        "kernels": Limit(Decimal(8), Source("group", "more")),
        GPU: Limit(Decimal(4), Source("group", "lab")),
        "memory": Limit(Decimal(64 * 2**30), Source("group", "lab")),
    }


def test_without_limit_is_more_than_any_number():
    groups = [group("a", elastic__kernels="9"), group("b", elastic__kernels="Unlimited ")]
    expected = {"kernels": Limit(None, Source("group", "b"))}
    assert of_ada(*groups) == of_ada(*reversed(groups)) == expected


def test_a_users_own_counts_before_all():
    users = {"ada": {"kernels": Decimal(1), GPU: None}, "bob": {"kernels": Decimal(7)}}
    found = of_ada(group("a", elastic__kernels="9"), users=users)
    assert found == {
        "kernels": Limit(Decimal(1), Source("user", "ada")),
        GPU: Limit(None, Source("user", "ada")),
    }
    assert [str(limit.source) for limit in found.values()] == ["set for this user"] * 2


GOOD = [
    ("kernels", "4", 4), ("kernels", 0, 0), ("kernels", " 4 ", 4), ("cpu", "500m", Decimal("0.5")),
    ("cpu", 1.5, Decimal("1.5")), ("memory", "1Gi", 2**30), ("memory", "0", 0),
    (GPU, "2", 2), ("amd.com/gpu", 1, 1), ("nvidia.com/mig-1g.5gb", "3", 3),
    ("ephemeral-storage", "5G", 5 * 10**9), (GPU, "unlimited", None),
]  # fmt: skip


@pytest.mark.parametrize(("resource", "value", "expected"), GOOD)
def test_what_can_be_written(resource, value, expected):
    assert limits.amount(resource, value) == expected


BAD = [
    ("kernels", "four", "'four' is no limit of kernels: write one such as 2, or unlimited"),
    ("kernels", "", "'' is no limit of kernels"),
    ("kernels", "1.5", "can't be divided"),
    ("kernels", "-1", "can't be negative"),
    ("kernels", True, "True is no limit"),
    ("kernels", None, "None is no limit"),
    ("kernels", {"max": 3}, "is no limit"),
    ("kernels", "..", "is no limit"),
    ("memory", "32", "such as 32Gi, or unlimited; 32 would be so many bytes"),
    ("memory", "500m", "would be so many bytes"),
    (GPU, "500m", "can't be divided"),
    (
        "gpu",
        "1",
        "'gpu' is no resource that can be limited: kernels, cpu, memory, .*nvidia.com/gpu",
    ),
    ("Kernels", "1", "'Kernels' is no resource"),
    ("", "1", "'' is no resource"),
]


@pytest.mark.parametrize(("resource", "value", "message"), BAD)
def test_what_cannot(resource, value, message):
    with pytest.raises(ValueError, match=message):
        limits.amount(resource, value)


def test_a_property_that_is_wrong_is_told_and_the_others_count():
    students = group(
        "students", elastic__kernels="three", elastic__cpu="4", colour="red", elastic={"kernels": 4}
    )
    problems = limits.problems([students, group("fine", elastic__kernels="3")])
    assert [str(problem) for problem in problems] == [
        "group students, property elastic: limits are rows of their own, such as elastic.kernels "
        "or elastic.nvidia.com/gpu",
        "group students, property elastic.kernels: 'three' is no limit of kernels: write one such "
        "as 2, or unlimited",
    ]
    assert of_ada(students) == {
        "kernels": Limit(Decimal(2), DEFAULT),
        "cpu": Limit(Decimal(4), Source("group", "students")),
    }


@given(st.dictionaries(st.text(max_size=20).map("elastic".__add__), st.text() | st.integers()))
def test_whatever_stands_there_it_is_a_limit_or_a_problem(properties):
    found, problems = limits.of_group(Group("any", frozenset(), properties))
    assert len(found) + len(problems) == len(properties)
    assert all(most is None or most >= 0 for most in found.values())

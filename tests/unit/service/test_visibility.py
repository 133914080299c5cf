"""Who may use a kernel spec that is for some only."""

import pytest

from hub_service.kernelspecs import visibility


def spec(**fields):
    return {"metadata": {"name": "gpu"}, "spec": {"displayName": "GPU", **fields}}


@pytest.mark.parametrize(
    ("limits", "user", "groups", "may"),
    [
        (None, "ada", [], True),
        (None, None, [], True),
        ({"groups": ["course"]}, "ada", ["course", "staff"], True),
        ({"groups": ["course"]}, "ada", ["staff"], False),
        ({"groups": ["course"]}, "ada", [], False),
        ({"users": ["ada"]}, "ada", [], True),
        ({"users": ["ada"]}, "Ada", [], False),
        ({"users": ["ada"]}, None, [], False),
        ({"users": ["bob"], "groups": ["course"]}, "ada", ["course"], True),
        ({"users": ["course"]}, "ada", ["course"], False),
        ({}, "ada", ["course"], False),
    ],
)
def test_who_may(limits, user, groups, may):
    item = spec() if limits is None else spec(visibility=limits)
    assert visibility.may_use(item, user, groups) is may


@pytest.mark.parametrize(
    ("limits", "needed"),
    [(None, False), ({"groups": ["x"]}, True), ({"users": ["ada"], "groups": ["x"]}, False)],
)
def test_groups_are_asked_for_where_they_decide(limits, needed):
    item = spec() if limits is None else spec(visibility=limits)
    assert visibility.needs_groups(item, "ada") is needed


def test_a_refusal_says_which_kernel_and_what_to_do():
    words = visibility.refusal(spec(visibility={"groups": ["secret-project"]}), "ada")
    assert "'GPU'" in words
    assert "ada" in words
    assert "Choose another" in words
    assert "secret-project" not in words

"""What is noted in a kernel's `status.culling`."""

from dataclasses import replace
from pathlib import Path

import yaml

from hub_service.culling import Keep, Policy, Warn, decide, notes
from hub_service.culling import activity as activities
from hub_service.culling.keeping import Kept, status_of_kept
from tests.unit.culling.gateway import Gateway, a_kernel, at

RULES = Policy(idle_timeout=100, warning=20, extension=50, extensions=2)
SAID = {"rule": RULES.sentence, "policy": RULES.line}


def noted(gateway, second, before=None, rules=RULES):
    """Its `status.culling` once what is wanted then was merged into it."""
    item = a_kernel(gateway.reported, culling=before)
    activity = activities.of(item)
    verdict = decide(item, activity, rules, None, at(second))
    wanted = notes.wanted(item, activity, rules, verdict, at(second))
    return {field: value for field, value in wanted.items() if value is not None}


def new():
    return Gateway().answered(1)


def test_the_rules_from_the_beginning():
    assert notes.with_rules(a_kernel({}), RULES) == SAID
    assert noted(new(), 2) == SAID
    other = replace(RULES, idle_timeout=200)
    assert noted(new(), 2, SAID, other)["rule"] == "It ends after 200 s idle."


def test_a_warning_is_noted_once():
    first = noted(new(), 85, SAID)
    assert first["deadline"] == "2030-01-01T12:01:41.000000Z"
    assert first["warnedAt"] == "2030-01-01T12:01:25.000000Z"
    assert first["reason"] == "Idle"
    assert first["message"]
    assert noted(new(), 90, first) == first
    assert noted(new(), 102, first) == first  # while the gateway is asked


def test_and_taken_back_when_the_kernel_works():
    warned = noted(new(), 85, SAID)
    assert noted(new().did(86), 87, warned) == SAID
    assert noted(new().asked(86, "execute_request"), 87, warned) == SAID


def test_another_deadline_is_another_warning():
    aged = replace(RULES, max_age=95, idle_timeout=100)
    warned = noted(new(), 85, SAID)
    again = noted(new(), 86, warned, aged)
    assert again["reason"] == "MaximumAge"
    assert again["warnedAt"] == "2030-01-01T12:01:26.000000Z"


def test_that_it_is_kept_until_that_is_over_and_it_worked_again():
    kept = SAID | {
        "keptUntil": "2030-01-01T12:03:00Z",
        "keptAt": "2030-01-01T12:01:30Z",
        "extensions": 1,
    }
    assert noted(new(), 91, kept) == kept
    assert noted(new().did(92), 93, kept) == kept
    assert noted(new().did(179), 181, kept) == SAID


def test_what_is_noted_is_what_decides():
    """From warning to warning by way of a keep, as the service writes it."""
    warned = noted(new(), 85, SAID)
    kept = SAID | {
        "keptUntil": "2030-01-01T12:02:31Z",
        "keptAt": "2030-01-01T12:01:26Z",
        "extensions": 1,
    }
    item = a_kernel(new().reported, culling=kept)
    assert isinstance(decide(item, activities.of(item), RULES, None, at(87)), Keep)
    again = noted(new(), 135, kept)
    assert again["deadline"] == "2030-01-01T12:02:31.000000Z"
    assert again["deadline"] != warned["deadline"]
    item = a_kernel(new().reported, culling=again)
    assert isinstance(decide(item, activities.of(item), RULES, None, at(136)), Warn)


def test_each_field_is_one_of_the_kind_s():
    """The API server would drop another, and the service note it again at every look."""
    path = Path(__file__).parents[3] / "crds" / "jupyterkernels.yaml"
    (version,) = yaml.safe_load(path.read_text())["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    known = schema["culling"]["properties"].keys()
    warned = noted(new(), 85, SAID)
    kept = status_of_kept(Kept(at(200), 1, 1), at(90))["culling"]
    assert len(warned) > len(SAID)
    assert {*warned, *kept} <= set(known)
    said = new().sent(2, "debug_request", "", "attach").left(3).reported
    assert said.keys() <= schema["activity"]["properties"].keys()

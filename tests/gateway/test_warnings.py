"""What is shown of a cull that is near."""

from datetime import UTC, datetime, timedelta

import pytest

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway import warnings
from elastic_spawner.gateway.settings import GatewaySettings
from hub_service import timestamps
from hub_service.kinds import Reason

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
SINCE = NOW - timedelta(minutes=55)
DEADLINE = NOW + timedelta(minutes=5)
CELL = {"msg_id": "the-cell", "msg_type": "execute_request"}
USED = activities.published(
    activities.passed_on(activities.started(SINCE), CELL, SINCE), "status", CELL, "busy", SINCE
)
IDLE = activities.done(activities.answered(USED, SINCE), CELL, SINCE)
PAGE = "/services/elastic/"


def kernel(**culling):
    return {"status": {"culling": culling}}


def warned(**more):
    deadline = timestamps.seconds(DEADLINE)
    return kernel(deadline=deadline, warnedAt=timestamps.seconds(NOW), **more)


def text(message):
    return message[1]["data"]["text/plain"]


def look(display, item, activity=IDLE):
    return display.look(item, activity, NOW, PAGE)


@pytest.mark.parametrize(
    "item",
    [
        None,
        {},
        kernel(),
        kernel(deadline="2026-01-01T12:00:00Z"),
        kernel(warnedAt="2026-01-01T12:00:00Z"),
    ],
    ids=["gone", "no status", "nothing noted", "a deadline is no warning", "no deadline"],
)
def test_nothing_to_warn_of(item):
    assert warnings.of(item) is None
    assert look(warnings.Display(), item) is None


def test_it_says_when_why_and_what_to_do():
    kind, content, cell = look(warnings.Display(), warned())
    assert (kind, cell) == ("display_data", CELL)
    assert content["data"]["text/plain"] == (
        "This kernel ends at 12:05:00 UTC (in 5 minutes), and its variables with it: it has been "
        "idle since 11:05 UTC. Run a cell in it to go on with it. It can be kept for longer on the "
        "page of your kernels: /services/elastic/"
    )
    assert '<a href="/services/elastic/"' in content["data"]["text/html"]


def test_other_reasons_ask_for_other_things():
    aged = text(look(warnings.Display(), warned(reason=Reason.MAXIMUM_AGE)))
    assert "maximum age" in aged
    wanted = text(look(warnings.Display(), warned(reason=Reason.RECLAIMED)))
    assert "another start waits" in wanted


def test_without_a_hub_there_is_no_page():
    said = warnings.Display().look(warned(), IDLE, NOW, None)
    assert text(said).endswith("Run a cell in it to go on with it.")


def test_it_is_said_once_and_brought_up_to_date_in_its_place():
    display = warnings.Display()
    first = look(display, warned())
    assert look(display, warned()) is None
    later = timestamps.seconds(DEADLINE + timedelta(hours=1))
    kind, content, cell = look(display, kernel(keptUntil=later))
    assert (kind, cell) == ("update_display_data", CELL)
    assert content["transient"] == first[1]["transient"]
    assert "is kept until 13:05:00 UTC" in content["data"]["text/plain"]
    assert look(display, kernel(keptUntil=later)) is None
    again = look(display, warned())
    stale = look(display, kernel(keptUntil=timestamps.seconds(DEADLINE)))
    assert "is kept" not in text(stale)  # kept before, and used since
    again = look(display, warned())
    assert again[0] == "display_data"
    assert again[1]["transient"] != first[1]["transient"]
    assert "goes on" in text(look(display, kernel()))


def test_a_deadline_that_moves():
    display = warnings.Display()
    look(display, warned())
    sooner = timestamps.seconds(NOW + timedelta(seconds=40))
    kind, content, _ = look(display, kernel(deadline=sooner, warnedAt=timestamps.seconds(NOW)))
    assert kind == "update_display_data"
    assert "(in 40 seconds)" in content["data"]["text/plain"]


@pytest.mark.parametrize(
    ("hub", "page"),
    [
        ("", None),
        ("http://hub.jhub:8081/hub/api", "/services/elastic/"),
        ("http://hub.jhub:8081/lab/hub/api", "/lab/services/elastic/"),
    ],
)
def test_the_page_is_under_the_hubs_base_url(hub, page):
    environment = {"ELASTIC_NAMESPACE": "n", "ELASTIC_GATEWAY_NAME": "g", "JUPYTERHUB_API_URL": hub}
    assert GatewaySettings.from_environment(environment).page == page


def test_a_kernel_that_is_used_meanwhile_is_warned_of_its_age_alone():
    working = activities.passed_on(IDLE, {**CELL, "msg_id": "next"}, NOW)
    later = activities.passed_on(IDLE, {"msg_type": "comm_msg"}, NOW + timedelta(seconds=1))
    for activity in (working, later):
        assert look(warnings.Display(), warned(), activity) is None
        assert look(warnings.Display(), warned(reason=Reason.MAXIMUM_AGE), activity) is not None
        display = warnings.Display()
        look(display, warned())
        assert "goes on" in text(look(display, warned(), activity))

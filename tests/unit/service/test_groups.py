"""The hub's groups: as a table, by a real hub's API, and while the hub is down."""

import asyncio
from pathlib import Path

import pytest

from hub_service.hub.client import HubClient
from hub_service.hub.groups import Group, Groups, group
from hub_service.hub.known_groups import KnownGroups
from tests.real_hub import PAGE, SERVICE_TOKEN, real_hub

ADAS = Group("students", frozenset({"ada", "bob"}), {"elastic.kernels": "3"})
ALL = Group("all", frozenset({"ada"}), {})


def test_who_is_in_which() -> None:
    groups = Groups([ADAS, ALL])
    assert groups.of("ada") == (ALL, ADAS)
    assert groups.names_of("bob") == {"students"}
    assert groups.of("nobody") == ()
    assert groups.all == (ALL, ADAS)
    assert groups == Groups([ALL, ADAS])
    assert groups != Groups([ALL])


def test_a_model_without_members_is_none() -> None:
    with pytest.raises(ValueError, match="read:groups"):
        group({"name": "students"})
    assert group({"name": "x", "users": ["ada"], "properties": None}).properties == {}


async def test_a_real_hub_tells_its_groups_and_nothing_else(tmp_path: Path) -> None:
    with real_hub(tmp_path) as hub:
        client = HubClient(hub.api_url, SERVICE_TOKEN)
        assert await client.groups() == []
        hub.group("students", "ada", "bob", properties={"elastic.kernels": "3"})
        assert await client.groups() == [ADAS]
        names = [f"g{n}" for n in range(2 * PAGE)]
        status, _ = hub.call("POST", "/groups", {"groups": names})
        assert status == 201
        listed = await client.groups()
        assert listed is not None
        assert {one.name for one in listed} == {"students", *names}
        for method, path, body in (
            ("POST", "/groups/more", {}),
            ("PUT", "/groups/students/properties", {"elastic.kernels": "99"}),
            ("POST", "/groups/students/users", {"users": ["bob"]}),
            ("DELETE", "/groups/students", None),
            ("GET", "/users", None),
        ):
            status, _ = hub.call(method, path, body, token=SERVICE_TOKEN)
            assert status == 403, (method, path)
        assert await HubClient(hub.api_url, "no-token").groups() is None
    assert await client.groups() is None


class Hub:
    """What the hub answers, and how often it was asked."""

    def __init__(self, *groups: Group) -> None:
        self.answer: list[Group] | None = list(groups)
        self.asked = 0
        self.is_slow = False

    async def groups(self) -> list[Group] | None:
        self.asked += 1
        if self.is_slow:
            await asyncio.Event().wait()
        return self.answer


async def test_many_who_ask_at_once_ask_the_hub_once() -> None:
    hub = Hub(ADAS)
    known = KnownGroups(hub.groups)
    assert known.current is None
    answers = await asyncio.gather(*(known.recent() for _ in range(200)))
    assert {len(groups.all) for groups in answers if groups} == {1}
    assert hub.asked == 1


async def test_the_next_who_asks_later_gets_what_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_service.hub.known_groups._RECENT", 0.0)
    hub, told, later = Hub(ADAS), [], []
    known = KnownGroups(hub.groups, on_change=told.append)
    await known.recent()
    with known.subscribed(later.append):
        await known.recent()
        hub.answer = [ADAS, ALL]
        assert await known.recent() == Groups([ADAS, ALL])
    hub.answer = [ADAS]
    await known.recent()
    assert told == [Groups([ADAS]), Groups([ADAS, ALL]), Groups([ADAS])]
    assert later == [Groups([ADAS, ALL])]


async def test_while_the_hub_is_down_the_last_known_ones_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("hub_service.hub.known_groups._RECENT", 0.0)
    hub = Hub(ADAS)
    known = KnownGroups(hub.groups)
    await known.recent()
    hub.answer = None
    assert await known.recent() == Groups([ADAS])
    asked = hub.asked
    assert await known.recent() == Groups([ADAS])
    assert hub.asked == asked  # it has just said nothing: those who start kernels don't wait for it


async def test_before_the_first_answer_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub_service.hub.known_groups._PATIENCE", 0.01)
    hub = Hub()
    hub.is_slow = True
    known = KnownGroups(hub.groups)
    running = asyncio.create_task(known.run())
    assert await known.recent() is None
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_without_a_hub_there_are_no_groups() -> None:
    known = KnownGroups(None)
    assert await known.recent() == Groups()
    await known.run()

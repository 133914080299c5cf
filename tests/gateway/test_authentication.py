"""Asking the hub: how often, and what when it does not answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from elastic_spawner.gateway.authentication import HubAuthenticator
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.identity import Identity
from tests.gateway.support import StandInHub, server_model


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now

    def advance(self, **by: float) -> None:
        self.now += timedelta(**by)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def hub() -> AsyncIterator[StandInHub]:
    async with StandInHub({"secret": server_model("ada")}).serving() as hub:
        yield hub


@pytest.fixture
async def authenticator(hub: StandInHub, clock: Clock) -> AsyncIterator[HubAuthenticator]:
    authenticator = HubAuthenticator(hub.url, "elastic", clock=clock)
    yield authenticator
    authenticator.close()


ADA = Identity("ada", "")
TOKEN = "token secret"


async def status_of(authenticator: HubAuthenticator, header: str | None = TOKEN) -> int:
    with pytest.raises(KernelError) as refusal:
        await authenticator.authenticate(header)
    assert "secret" not in refusal.value.message
    return refusal.value.status


async def test_the_hub_is_asked_once_in_thirty_seconds(
    hub: StandInHub, clock: Clock, authenticator: HubAuthenticator
) -> None:
    for _ in range(3):
        assert await authenticator.authenticate(TOKEN) == ADA
        clock.advance(seconds=9)
    assert len(hub.asked) == 1
    clock.advance(seconds=10)
    assert await authenticator.authenticate(TOKEN) == ADA
    assert len(hub.asked) == 2


async def test_requests_that_come_together_ask_together(
    hub: StandInHub, authenticator: HubAuthenticator
) -> None:
    hub.held = asyncio.Event()
    requests = [asyncio.create_task(authenticator.authenticate(TOKEN)) for _ in range(5)]
    hurried = asyncio.create_task(authenticator.authenticate(TOKEN))
    await asyncio.sleep(0)
    hurried.cancel()  # one client hangs up; the others get their answer
    hub.held.set()
    assert await asyncio.gather(*requests) == [ADA] * 5
    assert hub.asked == ["secret"]


async def test_without_a_token_and_with_a_wrong_one(
    hub: StandInHub, authenticator: HubAuthenticator
) -> None:
    assert await status_of(authenticator, None) == 401
    assert hub.asked == []
    assert await status_of(authenticator, "token other") == 403


@pytest.mark.parametrize("failure", [500, 502, 404])
async def test_a_known_token_outlives_a_failing_hub_for_five_minutes(
    hub: StandInHub, clock: Clock, authenticator: HubAuthenticator, failure: int
) -> None:
    await authenticator.authenticate(TOKEN)
    hub.status = failure
    clock.advance(minutes=4)
    assert await authenticator.authenticate(TOKEN) == ADA
    assert await status_of(authenticator, "token other") == 503
    clock.advance(minutes=1)
    assert await status_of(authenticator) == 503
    hub.status = 200
    assert await authenticator.authenticate(TOKEN) == ADA


async def test_a_failing_hub_is_not_asked_by_every_request(
    hub: StandInHub, clock: Clock, authenticator: HubAuthenticator
) -> None:
    await authenticator.authenticate(TOKEN)
    hub.status = 500
    clock.advance(minutes=1)
    for _ in range(5):
        assert await authenticator.authenticate(TOKEN) == ADA
    assert len(hub.asked) == 2
    clock.advance(seconds=2)
    await authenticator.authenticate(TOKEN)
    assert len(hub.asked) == 3


async def test_a_hub_that_is_gone(clock: Clock) -> None:
    async with StandInHub({"secret": server_model("ada")}).serving() as hub:
        authenticator = HubAuthenticator(hub.url, "elastic", clock=clock)
        await authenticator.authenticate(TOKEN)
    clock.advance(minutes=1)
    assert await authenticator.authenticate(TOKEN) == ADA
    assert await status_of(authenticator, "token other") == 503
    authenticator.close()


@pytest.mark.parametrize("refusal", [401, 403])
async def test_a_refusal_ends_a_known_token_at_once(
    hub: StandInHub, clock: Clock, authenticator: HubAuthenticator, refusal: int
) -> None:
    await authenticator.authenticate(TOKEN)
    clock.advance(seconds=31)
    hub.status = refusal
    assert await status_of(authenticator) == 403
    hub.status = 500  # nor does it come back with the hub away
    assert await status_of(authenticator) == 503


async def test_a_token_whose_scopes_were_taken_away_is_refused(
    hub: StandInHub, clock: Clock, authenticator: HubAuthenticator
) -> None:
    await authenticator.authenticate(TOKEN)
    hub.models["secret"]["scopes"] = []
    clock.advance(seconds=31)
    assert await status_of(authenticator) == 403


async def test_a_doubted_token_is_asked_about_again(
    hub: StandInHub, authenticator: HubAuthenticator
) -> None:
    hub.models["of-bob"] = server_model("bob")
    await authenticator.authenticate(TOKEN)
    await authenticator.authenticate("token of-bob")
    authenticator.doubt("ada")
    del hub.models["secret"]
    assert await status_of(authenticator) == 403
    await authenticator.authenticate("token of-bob")
    assert hub.asked == ["secret", "of-bob", "secret"]


async def test_a_doubt_overtakes_an_answer_that_is_on_its_way(
    hub: StandInHub, authenticator: HubAuthenticator
) -> None:
    hub.held = asyncio.Event()
    asking = asyncio.create_task(authenticator.authenticate(TOKEN))
    async with asyncio.timeout(5):
        while not hub.asked:  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0)
    authenticator.doubt("ada")
    hub.held.set()
    assert await asking == ADA
    await authenticator.authenticate(TOKEN)
    assert hub.asked == ["secret", "secret"]


async def test_a_doubted_token_is_good_while_the_hub_is_away(
    hub: StandInHub, authenticator: HubAuthenticator
) -> None:
    await authenticator.authenticate(TOKEN)
    authenticator.doubt("ada")
    hub.status = 503
    assert await authenticator.authenticate(TOKEN) == ADA

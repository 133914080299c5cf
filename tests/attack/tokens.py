"""Attacks with tokens that are not, or no longer, those of mallory's own server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from hub_service.names import kernels_scope
from tests.attack.case import GATEWAY, HUB, NOTHING, Answer, Case, Step, answer
from tests.attack.places import in_pod
from tests.attack.stage import Stage

_SCOPE = kernels_scope("elastic")
# Seconds within which a token must be refused: after its server's stop, and after other ends.
_AFTER_STOP = 5.0
_AFTER_OTHER_ENDS = 40.0


async def _with(stage: Stage, token: str) -> Answer:
    reply = await stage.notebook.run(
        "request",
        method="GET",
        url=f"{stage.url}/api/kernels",
        headers={"Authorization": f"token {token}"},
    )
    return answer(reply)


def _token(*scopes: str) -> Step:
    """A token that mallory makes at the hub's token page, shown to the gateway."""

    async def step(stage: Stage) -> Answer:
        filled = [scope.replace("NAME", stage.mallory.name) for scope in scopes]
        return await _with(stage, await stage.mallory.api_token(*filled))

    return step


async def _until_refused(stage: Stage, token: str, within: float) -> Answer:
    began = time.monotonic()
    while True:
        result = await _with(stage, token)
        seconds = time.monotonic() - began
        if result.denied:
            return Answer(f"{result.status} after {seconds:.2f} s", result.layer)
        if seconds > within:
            return Answer(result.status, NOTHING, f"taken for {seconds:.0f} s")
        await asyncio.sleep(0.05)


async def _stopped(stage: Stage) -> Answer:
    """The token of a server that its user stops, as somebody has copied it."""
    person = stage.mallory
    await person.start_server(server="spare")
    try:
        async with in_pod(*stage.notebook_of(person.name, "spare")) as pod:
            token = (await pod.run("environment"))["JUPYTERHUB_API_TOKEN"]
        if (await _with(stage, token)).denied:
            return Answer("refused too early")
    finally:
        await person.stop_server(server="spare")
    return await _until_refused(stage, token, _AFTER_STOP)


async def _expired(stage: Stage) -> Answer:
    token = await stage.mallory.api_token(_SCOPE, expires_in=1)
    return await _until_refused(stage, token, _AFTER_OTHER_ENDS)


async def _revoked(stage: Stage) -> Answer:
    token = await stage.mallory.api_token(_SCOPE)
    if (await _with(stage, token)).denied:
        return Answer("refused too early")
    await stage.mallory.revoke_tokens()
    return await _until_refused(stage, token, _AFTER_OTHER_ENDS)


def _hub(method: str, path: Callable[[Stage], str]) -> Step:
    """A request to the hub's API with the token of mallory's server."""

    async def step(stage: Stage) -> Answer:
        body = None if method == "GET" else {}
        status, text = await stage.hub(method, path(stage), stage.token, body)
        return answer({"status": status, "text": text})

    return step


_PROGRAM = _token(_SCOPE)
_WHO_AM_I = _hub("GET", lambda _: "/user")

CASES = [
    Case("a token that opens one's servers, as a service gets it by OAuth",
         _token("access:servers!user=NAME"), _PROGRAM, GATEWAY),
    Case("a token for a service", _token("access:services!service=elastic"), _PROGRAM, GATEWAY),
    Case("a token that says who one is", _token("read:users:name!user=NAME"), _PROGRAM, GATEWAY),
    Case("the token of a stopped server", _stopped, _PROGRAM, GATEWAY, quick=False),
    Case("an expired token", _expired, _PROGRAM, GATEWAY, quick=False),
    Case("a revoked token", _revoked, _PROGRAM, GATEWAY, quick=False),
    Case("look at another user at the hub", _hub("GET", lambda s: f"/users/{s.ada.name}"),
         _WHO_AM_I, HUB),
    Case("make a token for another user",
         _hub("POST", lambda s: f"/users/{s.ada.name}/tokens"), _WHO_AM_I, HUB),
    Case("make a token that may more", _hub("POST", lambda s: f"/users/{s.mallory.name}/tokens"),
         _WHO_AM_I, HUB),
    Case("stop another user's server", _hub("DELETE", lambda s: f"/users/{s.ada.name}/server"),
         _WHO_AM_I, HUB),
    Case("change a group's quota", _hub("PUT", lambda _: "/groups/staff/properties"), _WHO_AM_I,
         HUB),
]  # fmt: skip

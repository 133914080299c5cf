"""Asks gateways whether a kernel is idle, and to seal it if it is.

The gateway's answer is atomic there: after "sealed" it accepts no message for the kernel, so no
cell can begin between the answer and the kernel's end. Where the kernel's spec names something to
be run before (saving.py), that is done while what is sent for the kernel waits.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from tornado.httpclient import AsyncHTTPClient, HTTPClientError, HTTPRequest
from tornado.simple_httpclient import HTTPTimeoutError

from hub_service import timestamps
from hub_service.kernels.saving import Outcome
from hub_service.kinds import IDLE

# Seconds in which a kernel that is held everywhere is asked to be sealed. Gateways hold for 30, and
# a request may be on its way for as long as the client's time-out.
_SEAL_WITHIN = 15.0
# A question may take minutes, until something is saved, or the whole time-out, at a pod that has
# gone: neither may keep back those about other kernels. A process often may have 1024 files open.
_AT_A_TIME = 500


@dataclass(frozen=True)
class Why:
    """Why a kernel is to end, for those who use it: a constant reason and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True)
class Sealed:
    """The kernel was idle for long enough and takes no more messages.

    saved: what came of what its spec names to be run before; None where it names nothing.
    """

    saved: Outcome | None = None


@dataclass(frozen=True)
class Active:
    """The kernel was not idle for long enough; when it was last active, and its state now."""

    last_activity: datetime | None
    execution_state: str


@dataclass(frozen=True)
class Unknown:
    """The gateway could not say, for this reason. That is not idle."""

    why: str


@dataclass(frozen=True)
class Held:
    """The kernel was idle for long enough, and what is sent for it waits."""


@dataclass(frozen=True)
class Saved:
    """A kernel that is held has run what its spec names; what came of it."""

    outcome: Outcome


_Answer = Sealed | Active | Unknown | Held | Saved


class GatewayClient:
    """Calls gateways as the hub service that they know by `token`."""

    def __init__(self, token: str, *, request_timeout: float = 10.0) -> None:
        self._token = token
        self._request_timeout = request_timeout
        # The one that all share has ten connections, and the hub is asked on these.
        self._http = AsyncHTTPClient(force_instance=True, max_clients=_AT_A_TIME)

    def close(self) -> None:
        """Let go of the HTTP client."""
        self._http.close()

    async def seal(
        self,
        gateway_urls: Sequence[str],
        kernel_id: str,
        idle_before: datetime,
        *,
        why: Why | None = None,
        save_within: float | None = None,
        unless_connected: bool = False,
        is_kept: Callable[[], bool] = lambda: False,
    ) -> Sealed | Active | Unknown:
        """Have a kernel sealed that was idle since before `idle_before`.

        gateway_urls: of all processes of its gateway. Where there are several, each holds back
        what it is sent for the kernel first, and the kernel is sealed once all of them do: a
        message that one had accepted before keeps it.
        save_within: seconds for what the kernel is to run before, where its spec names something.
        Somebody who sends a cell meanwhile keeps the kernel.
        unless_connected: not while a notebook is connected to it.
        is_kept: asked before the last step whether its user keeps the kernel, where that took time.
        """
        told: dict[str, object] = {"unless_connected": True} if unless_connected else {}
        if why is not None:
            told |= {"reason": why.reason, "message": why.message}

        async def ask_all(step: str, **more: object) -> list[_Answer]:
            calls = (
                self._ask(url, kernel_id, idle_before, step, {**told, **more})
                for url in gateway_urls
            )
            return await asyncio.gather(*calls)

        if len(gateway_urls) == 1 and save_within is None:
            return _outcome(await ask_all("seal"))
        seal_until = asyncio.get_running_loop().time() + _SEAL_WITHIN
        answers, saved = await ask_all("hold"), None
        if save_within is not None and _all_held(answers):
            said = await self._ask(
                gateway_urls[0], kernel_id, idle_before, "save", told, extra=save_within
            )
            saved = said.outcome if isinstance(said, Saved) else None
            seal_until = asyncio.get_running_loop().time() + _SEAL_WITHIN
            answers = await ask_all("hold") if saved else [said]
        if _all_held(answers) and is_kept():
            answers.append(Unknown("its user keeps it since a moment ago"))
        if _all_held(answers):
            if asyncio.get_running_loop().time() < seal_until:
                more = {"saved": dataclasses.asdict(saved)} if saved else {}
                outcome = _outcome(await ask_all("seal", **more))
                return Sealed(saved) if isinstance(outcome, Sealed) else outcome
            answers.append(Unknown("its gateway took too long over it"))
        await ask_all("release")
        return _outcome(answers)

    async def _ask(
        self,
        gateway_url: str,
        kernel_id: str,
        idle_before: datetime,
        step: str,
        told: Mapping[str, object],
        *,
        extra: float = 0.0,
    ) -> _Answer:
        body = {"idle_before": timestamps.microseconds(idle_before), "step": step, **told}
        request = HTTPRequest(
            f"{gateway_url}/api/kernels/{kernel_id}/cull",
            method="POST",
            headers={
                "Authorization": f"token {self._token}",
                "Content-Type": "application/json",
            },
            body=json.dumps(body),
            connect_timeout=self._request_timeout,
            request_timeout=self._request_timeout + extra,
            follow_redirects=False,  # they would carry the token elsewhere
        )
        try:
            response = await self._http.fetch(request, raise_error=False)
        except (OSError, HTTPClientError, HTTPTimeoutError) as error:
            return Unknown(f"{gateway_url} does not answer: {error}")
        return _answer(gateway_url, response.code, response.body)


def _all_held(answers: Sequence[_Answer]) -> bool:
    return all(isinstance(answer, Held | Sealed) for answer in answers)


def _outcome(answers: Sequence[_Answer]) -> Sealed | Active | Unknown:
    """What the answers of a gateway's processes come to: the one that matters most."""
    for answer in answers:
        if isinstance(answer, Sealed):
            return answer
    active = [answer for answer in answers if isinstance(answer, Active)]
    at_work = [answer for answer in active if answer.execution_state != IDLE]
    if at_work:
        return at_work[0]
    for answer in answers:
        if isinstance(answer, Unknown):
            return answer
    moments = [answer.last_activity for answer in active if answer.last_activity is not None]
    return Active(max(moments, default=None), IDLE) if active else Unknown("nobody was asked")


def _answer(gateway_url: str, code: int, body: bytes) -> _Answer:
    if code not in (200, 409):
        return Unknown(f"{gateway_url} answers {code}")
    try:
        answer = json.loads(body)
        if code == 200 and isinstance(saved := answer.get("saved"), dict):
            return Saved(Outcome(saved["succeeded"] is True, str(saved["message"])))
        if code == 200 and answer["sealed"] is True:
            return Sealed()
        if code == 200 and answer["held"] is True:
            return Held()
        if code == 409 and answer["sealed"] is False:
            last_activity = timestamps.parse(answer.get("last_activity"))
            return Active(last_activity, str(answer.get("execution_state")))
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    return Unknown(f"{gateway_url} answers {code} with a body that can't be read")

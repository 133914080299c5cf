"""What a case is: an attack, its allowed twin, and the layer that has to refuse the attack."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from tests.attack.stage import Stage

# Layers that refuse.
GATEWAY = "gateway"
HTTP_SERVER = "gateway's HTTP server"
HUB = "hub"
API_SERVER = "API server"
ADMISSION = "pod security admission"
SERVICE = "service"
KERNEL = "kernel's key"
ENCRYPTION = "encryption"
CONTAINER = "container's confinement"
NETWORK = "network policy"
NOTHING = ""


@dataclass(frozen=True)
class Answer:
    """What came of an attempt.

    status: of HTTP, or a word. layer: who refused it; NOTHING if it was let through.
    """

    status: int | str
    layer: str = NOTHING
    text: str = ""

    @property
    def denied(self) -> bool:
        """Whether it was refused."""
        return self.layer != NOTHING


Step = Callable[[Stage], Awaitable[Answer]]


@dataclass(frozen=True)
class Case:
    """One attack.

    quick: whether it is in the short version. needs_policies: left out where the network does not
    enforce policies, as then nothing refuses it.
    """

    name: str
    attack: Step
    twin: Step
    layer: str
    quick: bool = True
    needs_policies: bool = False


def answer(reply: dict[str, Any]) -> Answer:
    """What an HTTP answer means: refused by whom, or let through."""
    status, text = reply["status"], str(reply.get("text", ""))
    if status == "closed":  # before there was an answer, by who would not read on
        return Answer(status, HTTP_SERVER)
    if isinstance(status, int) and status < 400:
        return Answer(status, NOTHING, text)
    if not isinstance(status, int):
        return Answer(status, NOTHING, text)
    try:
        body = json.loads(text)
    except ValueError:
        body = None
    if status >= 500 or (body is None and text):
        # A failure is no refusal.
        return Answer(status, NOTHING, text)
    if body is None:
        return Answer(status, HTTP_SERVER)
    if body.get("kind") == "Status":
        said = ADMISSION if "violates PodSecurity" in body.get("message", "") else API_SERVER
        return Answer(status, said, body.get("message", ""))
    return Answer(status, GATEWAY if "reason" in body else HUB, body.get("message", ""))


def rest(
    method: str,
    path: str,
    body: Any = None,
    *,
    headers: dict[str, str] | None = None,
    token: bool = True,
    text: str | None = None,
    repeat: int = 1,
) -> Step:
    """A request to the gateway from mallory's notebook, with her server's token.

    body: sent as JSON; text: sent as it is, so many times. <own> and <victim> are kernels' ids.
    """

    async def step(stage: Stage) -> Answer:
        own = {"Authorization": f"token {stage.token}"} if token else {}
        sent = text
        if body is not None:
            sent = json.dumps(stage.filled(body))
        reply = await stage.notebook.run(
            "request",
            method=method,
            url=stage.url + stage.filled(path),
            headers=own | stage.filled(headers or {}),
            body=sent,
            repeat=repeat,
        )
        return answer(reply)

    return step

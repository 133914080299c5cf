"""What is done about a restart that somebody else has begun; kernel and clients are stand-ins."""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest

from elastic_spawner.gateway import activity as activities
from elastic_spawner.gateway.restarts import Restarts
from hub_service import timestamps
from hub_service.kinds import Reason

NOT_DELIVERED = "The restart did not reach the kernel's pod."


class Manager:
    """Notes what it is asked to do."""

    def __init__(self) -> None:
        self.did: list[str] = []
        self.lost: list[datetime] = []
        self.kernel_id, self.log = "an-id", logging.getLogger("tests")
        self.ended, self.shutting_down = None, False
        self.started_as = SimpleNamespace(timeout=120.0)
        self.over = asyncio.Event()
        self.clients = SimpleNamespace(hold=self.does("hold"), resume=self.resume)
        self.monitor = SimpleNamespace(
            activity=activities.started(timestamps.now()),
            reset=self.does("reset"),
            heart=SimpleNamespace(never_answered=self.lost.append),
        )
        self.disconnect, self.look = self.does("disconnect"), self.does("look")

    def does(self, what: str) -> Any:
        return lambda: self.did.append(what)

    def resume(self) -> None:
        self.did.append("resume")
        self.over.set()

    def tell_restarted(self, message: str) -> None:
        self.did.append("tell")

    async def serve_again(self) -> None:
        self.did.append("serve again")


class Proxy:
    """A restart that comes to this."""

    def __init__(self, cause: str, undelivered: str | None, unanswered: str | None) -> None:
        self.undelivered, self.unanswered = undelivered, unanswered
        status = {"restart": {"id": "r", "cause": cause, "message": "It was restarted."}}
        self.resource = SimpleNamespace(current=lambda: {"status": status})

    async def delivered(self, restart_id: str) -> str | None:
        assert restart_id == "r"
        return self.undelivered

    async def answered(self, timeout: float) -> str | None:
        assert timeout == 120
        return self.unanswered


async def follow(proxy: Proxy) -> Manager:
    manager = Manager()
    restarts = Restarts(manager)  # type: ignore[arg-type]
    restarts.follow_restart(proxy, "r")  # type: ignore[arg-type]
    await asyncio.wait_for(manager.over.wait(), 20)
    assert not restarts.going_on
    return manager


MOVES = ["disconnect", "reset", "serve again", "look", "resume"]
TOLD = ["hold", "tell", *MOVES]


@pytest.mark.parametrize(
    ("proxy", "did", "lost"),
    [
        (Proxy(Reason.HEARTBEAT_LOST, None, None), TOLD, 0),
        (Proxy(Reason.HEARTBEAT_LOST, NOT_DELIVERED, None), ["hold", "look", "resume"], 0),
        (Proxy(Reason.HEARTBEAT_LOST, None, "It does not answer."), TOLD, 1),
        (Proxy("Requested", None, None), MOVES, 0),
        (Proxy("Requested", NOT_DELIVERED, None), MOVES, 0),
    ],
    ids=["restarted", "not reached", "hangs again", "asked for", "asked for, and refused"],
)
async def test_a_restart_is_told_once_it_has_happened(
    proxy: Proxy, did: list[str], lost: int
) -> None:
    manager = await follow(proxy)
    assert manager.did == did
    assert len(manager.lost) == lost

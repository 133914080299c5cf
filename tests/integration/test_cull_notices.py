"""What is told before a cull: a warning that its user answers, and what the kernel has saved."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from hub_service import timestamps
from hub_service.culling.keeping import Kept, NotKept
from hub_service.kinds import EVENTS, Object, condition, status_of
from hub_service.kube import Cluster
from tests.integration.gateway_stand_in import GATEWAY, StandIn
from tests.integration.support import Observed, reflecting, until


async def test_a_user_who_is_warned_keeps_the_kernel_once(
    serving: Any,
    start: Any,
    report: Any,
    observed: Observed,
    stand_in: StandIn,
    cluster: Cluster,
    namespace: str,
) -> None:
    rules = {"idleTimeout": 6, "warning": 3, "extension": 3, "extensions": 1}
    async with (
        reflecting(cluster, EVENTS, namespace) as events,
        serving(6, culling=rules) as worker,
    ):
        kernel = await observed.phase(await start(**GATEWAY), "Running")
        await report(kernel, "idle", seconds_ago=2)
        warned = await observed.kernel(kernel, lambda s: (s.get("culling") or {}).get("warnedAt"))
        noted = status_of(warned)["culling"]
        deadline = timestamps.parse(noted["deadline"])
        assert deadline is not None
        assert noted["reason"] == "Idle"
        await until(lambda: any(event["reason"] == "CullWarning" for event in events.store))

        # Of two who ask at the same time, one has seen what is no longer so.
        answers = await asyncio.gather(worker.keeper.keep(warned), worker.keeper.keep(warned))
        (kept,) = [answer for answer in answers if isinstance(answer, Kept)]
        (refused,) = [answer for answer in answers if isinstance(answer, NotKept)]
        assert kept == Kept(deadline + timedelta(seconds=3), 1, 0)
        assert "1 times at most (by the settings' culling)" in refused.message
        await observed.kernel(kernel, lambda s: "warnedAt" not in s["culling"])
        assert stand_in.asked == []

        await stand_in.was_asked(1)
        assert datetime.now(UTC) >= kept.until
        await observed.gone(kernel, 5)


async def test_what_is_saved_before_a_cull_is_said_in_the_condition(
    serving: Any, start: Any, report: Any, observed: Observed, stand_in: StandIn
) -> None:
    stand_in.answers = {
        "hold": (200, {"sealed": False, "held": True}),
        "save": (200, {"saved": {"succeeded": True, "message": "3 variables saved."}}),
    }
    async with serving(2):
        hook = {"beforeCull": {"code": "save()", "timeoutSeconds": 5}}
        kernel = await observed.phase(await start(**GATEWAY, **hook), "Running")
        seen: list[Object] = []
        observed.kernels.subscribe(lambda _key, _old, new: seen.append(new) if new else None)
        await report(kernel, "idle", seconds_ago=2)
        await observed.gone(kernel)
    assert [body["step"] for _, _, body in stand_in.asked] == ["hold", "save", "hold", "seal"]
    entry = condition(seen[-1], "Culled")
    assert entry is not None
    assert entry["message"].endswith("(by the settings' culling). 3 variables saved.")

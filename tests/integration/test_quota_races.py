"""Two hundred starts at once against a limit of two, by two creators, while the leader is killed.

`make quota-races` is the long version: twenty seeds, through two gateways.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.quota_races.suite import arena
from tests.real_hub import RealHub


@pytest.mark.usefixtures("definitions")
async def test_exactly_two_each_in_the_api_servers_own_order(hub: RealHub, tmp_path: Path) -> None:
    async with arena(hub, tmp_path, when_full="wait", through_gateways=False) as there:
        outcome = await there.race(1, users=8, starts=200, kill="worker")
    print(outcome)
    assert outcome.most == 2
    assert outcome.ends

"""Over many random histories: what is busy is never culled, what is idle not later than due."""

import os
from collections import Counter

from hub_service import timestamps
from tests.unit.culling.histories import History

# `make test-histories` runs a hundred thousand.
NUMBER = int(os.environ.get("HISTORIES", "3000"))
FIRST = int(os.environ.get("SEED", "1"))


def test_histories(monkeypatch):
    """BrokenError names the history; SEED=<that> HISTORIES=1 runs it alone."""
    ended, saw = Counter(), Counter()
    for seed in range(FIRST, FIRST + NUMBER):
        history = History(seed)
        monkeypatch.setattr(timestamps, "now", history.moment)
        history.run()
        ended[history.ended] += 1
        saw += history.saw
    print(f"{NUMBER} histories: ended {dict(ended)}, with {dict(saw)}")
    if NUMBER >= 1000:  # none of what is looked for is rare
        assert min(ended[why] for why in ("Idle", "MaximumAge", "Reclaimed", None)) > NUMBER / 200
        assert min(saw[what] for what in ("kept", "report lost", "comm_msg")) > NUMBER / 200

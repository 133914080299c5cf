"""`python -m tests.quota_races --seeds 20`: races through two gateways, judged one by one.

On a cluster of their own, which ends with them, or with `--existing` on that of KUBECONFIG. Prints
a line for each race; the last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from demo.install import kubectl
from localcluster.layout import ClusterError
from tests.quota_races.race import LIMIT, Outcome
from tests.quota_races.suite import arena, kills
from tests.real_hub import real_hub
from tests.run import cluster

ROOT = Path(__file__).parents[2]
USERS, STARTS = 8, 200


async def races(seeds: Sequence[int], folder: Path, *, through_gateways: bool) -> list[Outcome]:
    """All seeds; those of odd numbers with starts that wait for room. Prints as it goes."""
    outcomes = []
    with real_hub(folder) as hub:
        for when_full in ("refuse", "wait"):
            mine = [seed for seed in seeds if (seed % 2 == 1) == (when_full == "wait")]
            if not mine:
                continue
            (folder / when_full).mkdir()
            async with arena(
                hub, folder / when_full, when_full=when_full, through_gateways=through_gateways
            ) as there:
                for seed, kill in zip(mine, kills(mine), strict=True):
                    outcome = await there.race(seed, users=USERS, starts=STARTS, kill=kill)
                    outcomes.append(outcome)
                    _say(outcome)
    return outcomes


def _say(outcome: Outcome) -> None:
    print(
        f"seed {outcome.seed:2} {outcome.when_full:6}: {outcome.starts} starts and {outcome.ends} "
        f"ends by {outcome.users} users, killed: {outcome.killed:7}  at most {outcome.most} of "
        f"{LIMIT} at a time, exactly {LIMIT} each at the end; {outcome.seconds} s",
        flush=True,
    )


def main() -> int:
    """Run the races; 1 where a limit was passed, or not all that it allows was used."""
    parser = argparse.ArgumentParser(prog="python -m tests.quota_races", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--existing", action="store_true", help="on the cluster of KUBECONFIG")
    parser.add_argument("--without-gateways", action="store_true", help="resources are written")
    options = parser.parse_args()
    began = time.monotonic()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if not options.existing:
            try:
                os.environ |= stack.enter_context(cluster("races", images=False))
            except ClusterError as error:
                print(f"error: no cluster for the races: {error}", file=sys.stderr)
                return 1
        kubectl("apply", "-f", str(ROOT / "crds"))
        kubectl("wait", "--for=condition=Established", "--timeout=60s", "-f", str(ROOT / "crds"))
        error = None
        try:
            outcomes = asyncio.run(
                races(range(options.seeds), folder, through_gateways=not options.without_gateways)
            )
        except* AssertionError as failed:
            error = failed
        if error is not None:
            for line in _leaves(error):
                print(f"error: {line}", file=sys.stderr)
            return 1
    print(
        json.dumps(
            {
                "seeds": len(outcomes),
                "starts": sum(outcome.starts for outcome in outcomes),
                "ends": sum(outcome.ends for outcome in outcomes),
                "kills": sum(outcome.killed != "nothing" for outcome in outcomes),
                "most": max(outcome.most for outcome in outcomes),
                "limit": LIMIT,
                "passed": 0,
                "seconds": round(time.monotonic() - began, 1),
            }
        )
    )
    return 0


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[str]:
    lines = []
    for error in group.exceptions:
        lines += _leaves(error) if isinstance(error, BaseExceptionGroup) else [str(error)]
    return lines


if __name__ == "__main__":
    sys.exit(main())

"""`python -m tests.attack`: all cases against a hub that it installs. The last line is JSON."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import AsyncExitStack

from demo.install import Images, Installation, install
from hub_service.kube import Cluster
from tests.attack.bystander import somebody_works
from tests.attack.stage import a_stage
from tests.attack.suite import CASES, run
from tests.e2e.support import House


def main() -> int:
    """Install the hub, attack it, print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.attack", description=__doc__)
    parser.add_argument("--registry", default=Images.registry)
    parser.add_argument("--tag", default=Images.tag)
    parser.add_argument("--only", default="", help="cases with this in their name")
    parser.add_argument(
        "--policies-enforced",
        action="store_true",
        help="the cluster's network enforces NetworkPolicies: judge the cases that rely on them",
    )
    given = parser.parse_args()
    images = Images(given.registry, given.tag)
    installation = install(images, extra_config="c.JupyterHub.allow_named_servers = True\n")
    return asyncio.run(attack(installation, images, given.only, given.policies_enforced))


async def attack(
    installation: Installation, images: Images, only: str, policies_enforced: bool
) -> int:
    """Run the cases; 0 if all were refused, all twins passed and nobody was disturbed."""
    cases = [case for case in CASES if only in case.name]
    judged = [case for case in cases if policies_enforced or not case.needs_policies]
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster.from_environment())
        house = House(installation, stack)
        (mallory, _), (ada, _) = await house.start_anew("mallory"), await house.start_anew("ada")
        stage = await stack.enter_async_context(
            a_stage(installation, images, cluster, mallory, ada)
        )
        outcomes = []
        async with somebody_works(stage) as bystander:
            for case in judged:
                outcomes.append(await run(case, stage, bystander))
                print(outcomes[-1], flush=True)
        for case in cases:
            if case not in judged:
                print(f"NOT JUDGED  {case.name}: this network enforces no policies")
        for sentence in bystander.noticed:
            print(f"DISTURBED  {sentence}")
    result = {
        "cases": len(outcomes),
        "denied": sum(outcome.attack.denied for outcome in outcomes),
        "twins_passed": sum(outcome.twin_passed for outcome in outcomes),
        "disturbed": len(bystander.noticed),
        "not_judged": len(cases) - len(judged),
    }
    print(json.dumps(result))
    good = all(outcome.as_it_ought for outcome in outcomes) and not bystander.noticed
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())

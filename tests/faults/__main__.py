"""`python -m tests.faults --seed 7 --faults 200`: faults on a local cluster of its own.

The last line is one JSON object; the exit status is 0 if nothing was lost, leaked, doubled or
stuck.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import sys
from dataclasses import asdict

from demo.install import Images
from tests import run as suites
from tests.faults import suite
from tests.faults.model import Tally
from tests.faults.plan import Kind, plan
from tests.faults.users import SLOTS

NAME = "faults"
USERS = ("ada", "grace", "linus")


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--faults", type=int, default=200, help="how many (%(default)s)")
    kinds = parser.add_argument("--kinds", nargs="+", type=Kind, default=list(Kind))
    kinds.help = f"of {', '.join(Kind)}; all if none is named"
    running = "on the local cluster of that name, which KUBECONFIG leads to and which stays"
    parser.add_argument("--running", metavar="NAME", help=running)
    options = parser.parse_args()
    kernels = len(USERS) * len(SLOTS)
    chosen = plan(options.seed, options.faults, kernels=kernels, kinds=options.kinds)
    name = options.running or NAME

    def strike() -> Tally:
        return asyncio.run(suite.run(name, USERS, options.seed, chosen, images=Images(), say=_say))

    if options.running:
        tally = strike()
    else:
        with suites.cluster(NAME, gpus=len(USERS) + 1) as access:
            os.environ |= access
            tally = strike()
    print(json.dumps(asdict(tally)))
    return 0 if tally.is_clean else 1


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())

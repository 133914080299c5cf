"""`python -m benchmarks`: on the cluster of KUBECONFIG; the last line is one JSON object."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from yarl import URL

from benchmarks import culls, servers, starts
from demo.client import Person
from demo.install import Images, Installation, install
from hub_service.kinds import SERVICES
from hub_service.kube.client import Cluster


async def bench(
    installation: Installation, images: Images, *, pairs: int, rounds: int, logins: int
) -> None:
    """Run all comparisons, and print the figures."""
    figures = await servers.compare(installation, logins)
    namespace = installation.namespace
    async with (
        Cluster.from_environment() as cluster,
        Person(installation.url, "bench", installation.password) as person,
    ):
        await person.login()
        await person.start_server()
        try:
            service = await cluster.get(SERVICES, namespace, "elastic-gateway")
            url = URL(f"http://{service['spec']['clusterIP']}:8888")
            gateway = starts.Gateway(url, await person.api_token())
            figures |= await starts.compare(cluster, namespace, gateway, images, pairs)
            figures |= await culls.measure(cluster, namespace, person, images, rounds)
        finally:
            await person.stop_server()
    print(json.dumps(figures))


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--pairs", type=int, default=20, help="starts of each kind")
    parser.add_argument("--rounds", type=int, default=10, help="culls")
    parser.add_argument("--logins", type=int, default=5, help="servers started of each kind")
    options = parser.parse_args()
    images = Images(os.environ.get("REGISTRY", Images.registry), os.environ.get("TAG", Images.tag))
    installation = install(images, extra_config=servers.HUB_CONFIG)
    asyncio.run(
        bench(
            installation,
            images,
            pairs=options.pairs,
            rounds=options.rounds,
            logins=options.logins,
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

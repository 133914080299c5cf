"""`python -m benchmarks [PART …]`: on the cluster of KUBECONFIG; the last line is one JSON object.

Parts: burst and idle measure the service by itself, readopt a gateway; servers, starts, restarts,
culls and warm the demo's whole path, which needs the project's images. Without any, all are
measured.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys

from yarl import URL

from benchmarks import burst, culls, idle, readopt, restarts, servers, starts, warm
from demo.client import Person
from demo.install import Images, Installation, apply_kinds, install
from hub_service.kinds import SERVICES
from hub_service.kube.client import Cluster

_BY_THEMSELVES = ("burst", "idle", "readopt")
_OF_THE_DEMO = ("servers", "starts", "restarts", "culls", "warm")
_PARTS = (*_BY_THEMSELVES, *_OF_THE_DEMO)


async def by_themselves(options: argparse.Namespace, parts: list[str]) -> dict[str, float]:
    """The service and the gateway as processes of their own."""
    figures: dict[str, float] = {}
    async with Cluster.from_environment(request_timeout=60) as cluster:
        if "burst" in parts:
            figures |= await burst.compare(cluster, options.kernels, options.bursts)
        if "idle" in parts:
            figures |= await idle.measure(cluster, options.kernels, options.alone)
        if "readopt" in parts:
            figures |= await readopt.measure(cluster, options.found, options.finds)
    return figures


async def of_the_demo(
    options: argparse.Namespace, parts: list[str], installation: Installation, images: Images
) -> dict[str, float]:
    """What people meet."""
    figures: dict[str, float] = {}
    if "servers" in parts:
        figures |= await servers.compare(installation, options.logins)
    if parts == ["servers"]:
        return figures
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
            if "starts" in parts:
                figures |= await starts.compare(cluster, namespace, gateway, images, options.pairs)
            if "restarts" in parts:
                figures |= await restarts.measure(cluster, namespace, person, options.restarts)
            if "culls" in parts:
                figures |= await culls.measure(cluster, namespace, person, images, options.rounds)
            if "warm" in parts:
                figures |= await warm.compare(cluster, namespace, gateway, images, options.warm)
        finally:
            await person.stop_server()
    return figures


def main() -> int:
    """Run; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(_PARTS))
    parser.add_argument("--kernels", type=int, default=2000, help="of a burst, and at rest")
    parser.add_argument("--bursts", type=int, default=3, help="bursts of each kind")
    parser.add_argument("--alone", type=int, default=200, help="starts one at a time")
    parser.add_argument("--found", type=int, default=200, help="kernels that a gateway finds again")
    parser.add_argument("--finds", type=int, default=2, help="times that it does")
    parser.add_argument("--restarts", type=int, default=10, help="restarts of one kernel")
    parser.add_argument("--pairs", type=int, default=12, help="starts of each kind")
    parser.add_argument("--rounds", type=int, default=6, help="culls")
    parser.add_argument("--warm", type=int, default=10, help="starts in a warm pod, and a new one")
    parser.add_argument("--logins", type=int, default=3, help="servers started of each kind")
    options = parser.parse_args()
    if unknown := sorted(set(options.parts) - set(_PARTS)):
        parser.error(f"no such part: {', '.join(unknown)}; there are {', '.join(_PARTS)}")
    wanted = options.parts or list(_PARTS)
    figures: dict[str, float] = {}
    if parts := [part for part in _BY_THEMSELVES if part in wanted]:
        apply_kinds()
        figures |= asyncio.run(by_themselves(options, parts))
    if parts := [part for part in _OF_THE_DEMO if part in wanted]:
        registry, tag = os.environ.get("REGISTRY", Images.registry), os.environ.get("TAG", "dev")
        images = Images(registry, tag)
        # What runs there already may be of older images under the same names.
        installation = install(images, extra_config=servers.HUB_CONFIG, restart=True)
        figures |= asyncio.run(of_the_demo(options, parts, installation, images))
    print(json.dumps(figures))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""`python -m demo up|down|tour`: the demo on the cluster that KUBECONFIG names."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from demo import existing
from demo.install import Images, KubectlError, install, uninstall
from demo.tour import tour


def main() -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("command", choices=["up", "tour", "down"])
    parser.add_argument("--registry", default=Images.registry, help="where the images are")
    parser.add_argument("--tag", default=Images.tag)
    parser.add_argument("--pull-policy", default=Images.pull_policy)
    parser.add_argument("--restart", action="store_true", help="new images under the old names")
    parser.add_argument(
        "--existing", action="store_true", help="a cluster that is not ours: look before installing"
    )
    options = parser.parse_args()
    images = Images(options.registry, options.tag, options.pull_policy)
    try:
        if options.existing:
            print(f"On {existing.refuse_strangers(may_be_ours=True)}", flush=True)
        if options.command == "down":
            uninstall()
            return 0
        if options.existing:
            existing.require_gpus()
        print("Installing the hub (CRDs, Roles, hub, proxy, gateway) ...", flush=True)
        installation = install(images, restart=options.restart)
        figures = None
        if options.command == "tour":
            print("A tour, as a person would walk it:", flush=True)
            figures = asyncio.run(tour(installation, images))
        print(f"\n  JupyterHub: {installation.url}")
        print("  user:       ada (any name works; `admin` is an administrator)")
        print(f"  password:   {installation.password}\n")
        if figures is not None:
            print(json.dumps(figures))
    except (KubectlError, existing.ClusterInUseError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

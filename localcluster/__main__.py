"""The command line: python3 -m localcluster up|down|status|kubeconfig|images|load."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from localcluster import base, images, lifecycle
from localcluster.layout import DEFAULT_NAME, PROJECT, ClusterError, find_cluster


def main() -> int:
    """Run one command; print what is wrong and return 1 when it can't be done."""
    parser = argparse.ArgumentParser(prog="python3 -m localcluster", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def add(name: str, text: str) -> argparse.ArgumentParser:
        parser = commands.add_parser(name, help=text, description=text)
        parser.add_argument("--name", default=DEFAULT_NAME, help="cluster (%(default)s)")
        return parser

    start = add("up", "start the cluster, or do nothing if it is well")
    start.add_argument("--gpus", type=int, default=2, help="GPUs of the node (%(default)s)")
    start.add_argument("--kubeconfig", type=Path, help="where to write the access to it")
    stop = add("down", "end the cluster and remove everything but its images")
    stop.add_argument("--purge", action="store_true", help="remove its images too")
    add("status", "say how the cluster is; the exit status is 0 if it is well")
    add("kubeconfig", "print the administrator's access to the cluster")
    build = add("images", "build the images that changed and load them into the cluster")
    build.add_argument("image", nargs="*", help=f"{', '.join(images.INPUTS)}; all if none is named")
    build.add_argument("--registry", default="elastic", help="before the names (%(default)s)")
    build.add_argument("--tag", default="dev", help="after the names (%(default)s)")
    build.add_argument("--base-image", default=base.AUTOMATIC, help="an image, `local` or `auto`")
    build.add_argument("--push", action="store_true", help="push them to the registry too")
    store = add("load", "load an image archive into the cluster")
    store.add_argument("archive", type=Path)
    arguments = parser.parse_args()
    try:
        return _run(arguments)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _run(arguments: argparse.Namespace) -> int:
    name = arguments.name
    if arguments.command == "up":
        folder = PROJECT / ".cluster" / ("" if name == DEFAULT_NAME else name)
        lifecycle.up(name, arguments.gpus, arguments.kubeconfig or folder / "kubeconfig")
    elif arguments.command == "down":
        lifecycle.down(name, purge=arguments.purge)
    elif arguments.command == "status":
        why = lifecycle.unhealthy(find_cluster(name))
        print(f"cluster {name}: {why or 'well'}")
        return 1 if why else 0
    elif arguments.command == "images":
        names = arguments.image or list(images.INPUTS)
        if unknown := set(names) - set(images.INPUTS):
            raise ClusterError(f"no image is called {', '.join(unknown)}: see images/")
        naming = images.Naming(arguments.registry, arguments.tag)
        cluster = find_cluster(name)
        images.images(names, naming, arguments.base_image, cluster, push=arguments.push)
    elif arguments.command == "load":
        for loaded in images.load(arguments.archive, find_cluster(name)):
            print(f"loaded {loaded}")
    elif arguments.command == "kubeconfig":
        access = find_cluster(name).admin_kubeconfig
        if not access.exists():
            raise ClusterError(f"cluster {name} does not run: start it with `make cluster`")
        print(access.read_text(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())

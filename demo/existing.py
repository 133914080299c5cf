"""Whether a cluster that is not ours may take the demo or the tests: looked at before anything.

They install a hub, kinds and namespaces, and the tests remove them again. Where such things exist
already, they belong to somebody.
"""

from __future__ import annotations

import json

from demo.install import DEMO_LABEL, HUB_NAMESPACE, ROOT, kubectl

_USERS_NAMESPACE = "jupyter-users"
_CRD = "customresourcedefinition.apiextensions.k8s.io/"
_GPUS_NEEDED = 2


class ClusterInUseError(RuntimeError):
    """The cluster can't be used: what is in the way, and how to get it out of the way."""


def refuse_strangers(*, may_be_ours: bool) -> str:
    """Raise ClusterInUseError where something is in the way; returns the API server's address.

    may_be_ours: what an earlier `make demo` installed is not in the way.
    """
    server = kubectl("config", "view", "--minify", "-o", "jsonpath={.clusters[0].cluster.server}")
    present = _present()
    if not present or (may_be_ours and _is_ours()):
        return server
    way_out = (
        "`make demo-down CLUSTER=existing` removes a demo" if _is_ours() else "they are not ours"
    )
    raise ClusterInUseError(
        f"{server} has these already: {', '.join(present)}. Use a cluster without them ({way_out})."
    )


def require_gpus() -> None:
    """Raise ClusterInUseError where the nodes offer too few GPUs to show anything."""
    gpus = _gpus()
    if gpus < _GPUS_NEEDED:
        raise ClusterInUseError(
            f"the cluster offers {gpus} nvidia.com/gpu, and {_GPUS_NEEDED} are needed. On a "
            "cluster for trying things, a node can offer some without having any: kubectl patch "
            'node NAME --subresource=status --type=merge -p \'{"status": {"capacity": '
            '{"nvidia.com/gpu": "2"}}}\''
        )


def _present() -> list[str]:
    """What of a hub with elastic kernels is on the cluster, whoever put it there."""
    names = [f"namespace/{HUB_NAMESPACE}", f"namespace/{_USERS_NAMESPACE}"]
    found = kubectl("get", *names, "--ignore-not-found", "-o", "name")
    kinds = kubectl("get", "--ignore-not-found", "-o", "name", "-f", str(ROOT / "crds"))
    return [*found.split(), *(kind.replace(_CRD, "kind/") for kind in kinds.split())]


def _is_ours() -> bool:
    label = f"{DEMO_LABEL}=true"
    return bool(kubectl("get", "namespace", "-l", label, "-o", "name").strip())


def _gpus() -> int:
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    return sum(int(node["status"]["allocatable"].get("nvidia.com/gpu", 0)) for node in nodes)

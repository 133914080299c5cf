"""Volumes of a kernel's user, looked up when its pod is made."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence

from hub_service import homes
from hub_service.homes import Home, Mount, Rule
from hub_service.kinds import (
    ANNOTATION_HOME_CLAIM,
    CLAIMS,
    Object,
    Reason,
    annotations_of,
    name_of,
    namespace_of,
    spec_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector
from hub_service.reconcile.calls import find
from hub_service.starts import room
from hub_service.starts.faults import Fault

log = logging.getLogger(__name__)

BY_SERVER = "server"
BY_HOME = "home"


def home_of(pod: Object) -> str | None:
    """Index of kernels' pods by the claim of their home that one node only can use at a time."""
    claim = annotations_of(pod).get(ANNOTATION_HOME_CLAIM)
    return str(Key(namespace_of(pod), claim)) if claim else None


class Homes:
    """Furnishes kernels' pods. `servers` needs the index BY_SERVER, `pods` BY_HOME.

    nodes: those of the cluster, none where they may not be known. may_grow: whether others may be
    added.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        servers: Reflector,
        pods: Reflector,
        nodes: Callable[[], Awaitable[Sequence[room.Node]]],
        may_grow: bool,
        rule: Rule,
    ) -> None:
        self._cluster = cluster
        self._servers = servers
        self._pods = pods
        self._nodes = nodes
        self._may_grow = may_grow
        self._rule = rule

    async def furnish(self, kernel: Object, pod: Object) -> Object | Fault:
        """A kernel's pod with its user's volumes and the shared ones, where that can be.

        A Fault where the kernel can't be run with them, and is not to be run without. Raises
        ApiError.
        """
        wanted = self._rule.enabled and homes.is_wanted(pod)
        there: list[str] = []
        missing: list[str] = []
        elsewhere = None
        if wanted:
            home = await self._home(kernel)
            if isinstance(home, Home):
                furnished = await self._with_home(pod, home, there, missing)
                if isinstance(furnished, Fault):
                    return furnished
                pod, elsewhere = furnished
            else:
                missing.append(home)
        pod, shared, problems = homes.furnish(pod, self._rule.shared)
        there += [f"{title}, as sharedVolumes says." for title in shared]
        missing += problems
        folder = None
        if asked := spec_of(kernel).get("workingDirectory"):
            pod, folder = homes.started_in(pod, asked)
        if not (wanted or shared):
            return pod
        said = [*missing, *([elsewhere] if elsewhere else [])]
        report = homes.describe(there, said, elsewhere=elsewhere is not None, folder=folder)
        return homes.with_report(pod, report)

    async def _home(self, kernel: Object) -> Home | str:
        """The volumes of a kernel's user, or why there are none."""
        spec, namespace = spec_of(kernel), namespace_of(kernel)
        owner, job = spec.get("owner"), self._rule.jobs
        if job and owner is not None and not (spec.get("server") is not None or "notebook" in spec):
            claim = await find(self._cluster, CLAIMS, Key(namespace, _claim(job, owner)))
            if claim is None:
                return f"There is no claim {_claim(job, owner)}, which homes.jobs names."
            if homes.is_somebody_elses(claim, owner):
                return f"The claim {name_of(claim)}, which homes.jobs names, is somebody else's."
            return homes.of_job(owner, job)
        key = homes.server_of_kernel(kernel)
        if key is None:
            return f"The volumes of a notebook in another namespace can't be used in {namespace}."
        pods = self._servers.store.by_index(BY_SERVER, key)
        if not pods:
            return "No pod of the notebook server is there, so its volumes are not known."
        home = homes.of_pod(pods[0], self._rule.volumes)
        return home if home.mounts else f"In {home.origin} there is no volume that outlives it."

    async def _with_home(
        self, pod: Object, home: Home, there: list[str], missing: list[str]
    ) -> tuple[Object, str | None] | Fault:
        """The pod with a home, and why it is without, if it is; adds to what is said of volumes."""
        namespace = namespace_of(pod)
        shared = {mount.path for mount in self._rule.shared}
        home = home._replace(mounts=tuple(m for m in home.mounts if m.path not in shared))
        claims = await self._claims(namespace, home.mounts)
        one_node, one_pod = homes.bound_to_one_node(home.mounts, claims)
        node = self._node(namespace, one_node)
        left_out: list[Mount] = []
        elsewhere = None
        if one_pod and self._node(namespace, one_pod):
            missing += [f"{mount.title} can be used by one pod at a time." for mount in one_pod]
            left_out += one_pod
        result, titles, problems = self._furnished(pod, home, left_out, one_node, node)
        held = room.home_node(result) is not None
        if held and (
            fault := room.never_fits(result, await self._nodes(), may_grow=self._may_grow)
        ):
            if not self._rule.without or fault.reason != Reason.HOME_ELSEWHERE:
                return fault
            elsewhere = f"The kernel runs without your files. {fault.message}"
            left_out += one_node
            result, titles, problems = self._furnished(pod, home, left_out, [], None)
        there += [f"{title}, as in {home.origin}." for title in titles]
        missing += problems
        return result, elsewhere

    def _furnished(
        self,
        pod: Object,
        home: Home,
        left_out: list[Mount],
        one_node: list[Mount],
        node: str | None,
    ) -> tuple[Object, list[str], list[str]]:
        mounts = [mount for mount in home.mounts if mount not in left_out]
        result, titles, problems = homes.furnish(pod, mounts, identity=home.identity)
        # Of several, all are in use where the first is.
        for mount in [mount for mount in one_node if mount.title in titles][:1]:
            result = homes.placed(result, mount.claim or "", node)
        return result, titles, problems

    def _node(self, namespace: str, mounts: Iterable[Mount]) -> str | None:
        """The node where one of these volumes is in use."""
        claims = {mount.claim for mount in mounts if mount.claim is not None}
        if not claims:
            return None
        kernels = [
            pod
            for claim in claims
            for pod in self._pods.store.by_index(BY_HOME, str(Key(namespace, claim)))
        ]
        servers = (pod for pod in self._servers.store if namespace_of(pod) == namespace)
        return homes.node_that_has(claims, itertools.chain(servers, kernels))

    async def _claims(self, namespace: str, mounts: Iterable[Mount]) -> dict[str, Object]:
        """The claims of these mounts, by name, as far as they are there and may be read."""
        found = {}
        for name in {mount.claim for mount in mounts if mount.claim is not None}:
            try:
                claim = await find(self._cluster, CLAIMS, Key(namespace, name))
            except ApiError as error:
                if error.status != 403:
                    raise
                log.warning("what claim %s/%s allows is not known: %s", namespace, name, error)
                claim = None
            if claim is not None:
                found[name] = claim
        return found


def _claim(job: homes.JobHome, owner: str) -> str:
    return homes.of_job(owner, job).mounts[0].claim or ""

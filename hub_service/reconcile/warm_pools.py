"""JupyterKernelSpec with `spec.warm` → pods that wait for its kernels → `status.warm`."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple
from uuid import uuid4

from hub_service import homes, quantities, timestamps
from hub_service.kernels import kernel
from hub_service.kernelspecs import kernelspec_status
from hub_service.kernelspecs.kernelspec import (
    CURVE,
    KernelSpecError,
    kernel_template,
    template_reference,
)
from hub_service.kinds import (
    JUPYTER_KERNEL_SPECS,
    PODS,
    Object,
    is_deleting,
    namespace_of,
    spec_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster, Key, Reflector, key_of
from hub_service.pods.podsecurity import Policy
from hub_service.reconcile.calls import REFUSALS, delete, patch_status_if_there
from hub_service.reconcile.homes import Homes
from hub_service.reconcile.kernel_pods import Joining
from hub_service.reconcile.kernelspecs import BY_TEMPLATE
from hub_service.reconcile.starts import UNSCHEDULED
from hub_service.reconcile.templates import template_of
from hub_service.reconcile.warm_claims import BY_POOL
from hub_service.sharing import kueue
from hub_service.sharing.pods import gates
from hub_service.starts import room
from hub_service.starts.faults import Fault
from hub_service.warm import pods as warm
from hub_service.warm.pool import Plan, plan

log = logging.getLogger(__name__)

# Templates of other namespaces are not watched; a namespace that is full has room again.
_LOOK_AGAIN = 60.0


def named(wanted: Object) -> Object:
    """A pod with a name of its own, which the line for GPUs goes by."""
    metadata = dict(wanted["metadata"])
    name = metadata.pop("generateName") + uuid4().hex[:8]
    return {**wanted, "metadata": {**metadata, "name": name}}


class Rules(NamedTuple):
    """What the administrator set.

    home: whether kernels have their users' files, where wanted; elsewhere: whether they run in
    other namespaces than their specs.
    """

    gpus: bool
    most: int
    home: bool
    elsewhere: bool


class WarmPools:
    """`reconcile`, by JupyterKernelSpec, for a Controller.

    `pods` needs the indexes BY_POOL and UNSCHEDULED, `specs` BY_TEMPLATE.
    joining: see KernelPods.
    """

    def __init__(
        self,
        cluster: Cluster,
        *,
        specs: Reflector,
        templates: Reflector,
        pods: Reflector,
        homes: Homes,
        joining: Joining,
        security: Policy,
        rules: Rules,
    ) -> None:
        self._cluster = cluster
        self._specs = specs
        self._templates = templates
        self._pods = pods
        self._homes = homes
        self._joining = joining
        self._security = security
        self._rules = rules
        self._asked: set[Key] = set()

    def specs_of_template(self, key: Key, _old: Object | None, _new: Object | None) -> list[Key]:
        """Which specs with warm pods a template's change concerns."""
        found = self._specs.store.by_index(BY_TEMPLATE, str(key))
        return [key_of(spec) for spec in found if warm.wish(spec).pods]

    def spec_of_pod(self, _key: Key, old: Object | None, new: Object | None) -> Iterable[Key]:
        """The spec whose kernel a pod waits for, or waited for."""
        pools = {warm.pool_of(pod) for pod in (old, new) if pod is not None} - {None}
        return [Key(*str(pool).split("/", 1)) for pool in pools]

    def specs_that_make_way(
        self, _key: Key, old: Object | None, new: Object | None
    ) -> Iterable[Key]:
        """All specs with warm pods, where the scheduler finds too little for a pod, or enough."""
        if not self._asked:
            return ()
        before, after = (_lacks(pod) if pod else [] for pod in (old, new))
        return list(self._asked) if before != after else ()

    async def reconcile(self, key: Key) -> float | None:
        """Make and delete the pods of one spec; seconds until the next look."""
        item = self._specs.store.get(key)
        waiting = self._pods.store.by_index(BY_POOL, str(key))
        number = 0 if item is None or is_deleting(item) else warm.wish(item).pods
        if item is None or not number:
            self._asked.discard(key)
            for pod in waiting:
                await delete(self._cluster, PODS, pod)
            if item is not None:
                await self._say(item, None)
            return None
        self._asked.add(key)
        wanted, problem = await self._pod(item, number)
        found = plan(
            waiting,
            wanted,
            number,
            timestamps.now(),
            others_wait=wanted is not None and self._others_wait(wanted),
            problem=problem,
        )
        for pod in found.delete:
            await delete(self._cluster, PODS, pod)
        refused = None
        for _ in range(found.create):
            if wanted is None or refused:
                break
            refused = await self._make(key, wanted)
        await self._say(item, found._replace(message=refused or found.message))
        return self._again(item, found, refused)

    async def _pod(self, item: Object, number: int) -> tuple[Object | None, str | None]:
        """The pod that waits for kernels of a spec, or why there can be none."""
        if number > self._rules.most:
            return None, (
                f"spec.warm.pods ({number}): an administrator allows {self._rules.most} "
                "(warmKernels.most)."
            )
        if self._rules.elsewhere:
            return None, "Kernels run in a namespace for each user, where no pod can be moved to."
        template, forbidden = await template_of(self._cluster, self._templates, item)
        try:
            made = kernel_template(item, template, forbidden=forbidden)
        except KernelSpecError as error:
            return None, str(error)
        if refused := kernelspec_status.not_allowed(made.template, self._security):
            return None, refused.message
        nobodys = warm.prototype(item, made.template)
        pod = kernel.desired_pod(nobodys, self._security)
        problem = warm.problem(
            pod,
            encrypted=spec_of(item).get("encryption") == CURVE,
            home=self._rules.home and homes.is_wanted(made.template),
            gpus=self._rules.gpus,
        )
        if problem:
            return None, problem
        furnished = await self._homes.furnish(nobodys, pod)
        if isinstance(furnished, Fault):
            return None, furnished.message
        return warm.of_spec(item, furnished), None

    def _others_wait(self, wanted: Object) -> bool:
        """Whether a kernel's pod finds no node for want of what this one takes."""
        taken = quantities.requests(wanted).keys()
        refused = map(_lacks, self._pods.store.by_index(UNSCHEDULED, ""))
        return any(name in taken or name == "pods" for names in refused for name in names)

    async def _make(self, key: Key, wanted: Object) -> str | None:
        """Why it was refused, if it was. Raises ApiError for what may be tried again at once."""
        try:
            with self._joining(named(wanted)) as pod:
                self._pods.record(await self._cluster.create(PODS, key.namespace, pod))
        except ApiError as error:
            if error.status not in REFUSALS:
                raise
            return f"No more can be made: {error.message}"
        return None

    async def _say(self, item: Object, found: Plan | None) -> None:
        said = {"ready": found.ready, "message": found.message} if found else None
        if status_of(item).get("warm") != said:
            await patch_status_if_there(
                self._cluster, JUPYTER_KERNEL_SPECS, self._specs, key_of(item), {"warm": said}
            )

    def _again(self, item: Object, found: Plan, refused: str | None) -> float | None:
        waits = []
        reference = template_reference(item)
        if refused or (reference and reference[0] != namespace_of(item)):
            waits.append(_LOOK_AGAIN)
        if found.again is not None:
            waits.append(max((found.again - timestamps.now()).total_seconds(), 1.0))
        return min(waits, default=None)


def _lacks(pod: Object) -> list[str]:
    """What there is too little of for a kernel's pod: by the scheduler's word, or in a queue."""
    if kueue.GATE in gates(pod):
        return [name for name in quantities.requests(pod) if quantities.is_gpu(name)]
    return room.scarce(pod)

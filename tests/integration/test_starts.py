"""Starts on a real cluster: each reason to wait and to fail, with its words and its seconds."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest

from demo.install import Images
from hub_service import timestamps
from hub_service.kernels.kernel_model import kernel_model
from hub_service.kinds import (
    EVENTS,
    NODES,
    PODS,
    SECRETS,
    Object,
    Resource,
    condition,
    name_of,
    namespace_of,
    status_of,
    uid_of,
)
from hub_service.kube import ApiError, Cluster
from tests.integration import registry
from tests.integration.support import DEADLINE, Observed, reflecting

ADMISSION = "admissionregistration.k8s.io"
QUOTAS = Resource("", "v1", "resourcequotas", "ResourceQuota")
WEBHOOKS = Resource(
    ADMISSION, "v1", "validatingwebhookconfigurations", "ValidatingWebhookConfiguration"
)
POLICIES = Resource(ADMISSION, "v1", "validatingadmissionpolicies", "ValidatingAdmissionPolicy")
BINDINGS = Resource(
    ADMISSION, "v1", "validatingadmissionpolicybindings", "ValidatingAdmissionPolicyBinding"
)
GPU = "nvidia.com/gpu"
SHELL = ["sh", "-c"]


class Case(NamedTuple):
    """A kernel, and what its start has to come to."""

    reason: str
    words: str
    container: Object | None = None
    pod_spec: Object | None = None
    seconds: float = 45.0  # many at once, on machines with few cores


def gpus(number: int) -> Object:
    return {"resources": {"limits": {GPU: number}}}


def image(name: str) -> Object:
    return {"image": f"{registry.ADDRESS}/{name}:1", "imagePullPolicy": "Always"}


VOLUME = {"name": "extra", "secret": {"secretName": "absent"}}
MOUNTED = {"volumeMounts": [{"name": "extra", "mountPath": "/extra"}]}
CLAIM = {"name": "home", "persistentVolumeClaim": {"claimName": "absent"}}

FATAL = {
    "image does not exist": Case("ImageNotFound", "does not exist. Choose another", image("none")),
    "image may not be pulled": Case("ImagePullFailed", "pull secret", image("secret")),
    "registry is down": Case("ImagePullFailed", "in 3 tries", image("down"), seconds=120),
    "image is not on the node": Case(
        "ImageNotFound",
        "is not on the node",
        {"image": "elastic/none:none", "imagePullPolicy": "Never"},
    ),
    "image's name is none": Case("InvalidImageName", "can't be used", {"image": "No/Image"}),
    "no such program": Case("BadCommand", "/no/such", {"command": ["/no/such"]}),
    "no such program, by a shell": Case(
        "BadCommand", "no-such-kernel", {"command": [*SHELL, "exec no-such-kernel"]}
    ),
    "crash": Case(
        "CrashedAtStart",
        "exit code 3 before it answered. The last lines of its log:\nno licence",
        {"command": [*SHELL, "echo no licence; exit 3"]},
    ),
    "no ConfigMap": Case(
        "ReferenceNotFound",
        "needs the ConfigMap 'absent'",
        {"envFrom": [{"configMapRef": {"name": "absent"}}]},
    ),
    "no key in a Secret": Case(
        "ReferenceNotFound",
        "couldn't find key absent",
        {
            "env": [
                {
                    "name": "A",
                    "valueFrom": {"secretKeyRef": {"name": "present", "key": "absent"}},
                }
            ]
        },
    ),
    "no Secret for a volume": Case(
        "ReferenceNotFound", "needs the Secret 'absent'", MOUNTED, {"volumes": [VOLUME]}
    ),
    "no PersistentVolumeClaim": Case(
        "ReferenceNotFound", "needs the PersistentVolumeClaim 'absent'", {}, {"volumes": [CLAIM]}
    ),
    "more GPUs than any node has": Case(
        "LargerThanAnyNode", "asks for 99 GPUs (nvidia.com/gpu), more than any node", gpus(99)
    ),
    "more memory than any node has": Case(
        "LargerThanAnyNode", "64Ti of memory", {"resources": {"requests": {"memory": "64Ti"}}}
    ),
    "no such node": Case(
        "NoMatchingNode", "pool=absent", {}, {"nodeSelector": {"pool": "absent"}}
    ),
    "not a valid pod": Case(
        "PodRejected", "containerPort", {"ports": [{"containerPort": 0}]}
    ),
    "forbidden by a policy": Case(
        "PodRejected", "Nobody may be called eve", {"env": [{"name": "EVE", "value": "1"}]}
    ),
    "no such runtime class": Case(
        "PodRejected", "absent", {}, {"runtimeClassName": "absent"}
    ),
    "more than the namespace may have": Case(
        "NamespaceQuotaExceeded", "all of its namespace together may have 100", gpus(101)
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def table() -> Any:
    """Prints, at the end, what was said and when."""
    rows: list[tuple[str, float, str, str]] = []
    yield rows
    print("\n\nseconds  case | reason: text")
    for case, seconds, why, message in sorted(rows):
        text = message.replace("\n", " / ")
        print(f"{seconds:7.1f}  {case} | {why}: {text}")


@pytest.fixture
async def node(cluster: Cluster, images: Images) -> AsyncIterator[str]:
    """The node on whose loopback address the registry answers."""
    async with registry.serving(cluster, images.name("kernel"), images.pull_policy) as name:
        yield name


@pytest.fixture
async def launch(
    cluster: Cluster, namespace: str, start: Any, node: str
) -> Callable[[str, Case], Awaitable[Object]]:
    """Creates the kernel of a case, for an owner of its own."""

    async def create(name: str, case: Case) -> Object:
        pod_spec = dict(case.pod_spec or {})
        if registry.ADDRESS in str(case.container):
            pod_spec["nodeSelector"] = {"kubernetes.io/hostname": node}
        owner = re.sub(r"\W+", "-", name)
        created: Object = await start(owner, container=case.container, pod_spec=pod_spec)
        return created

    return create


@pytest.fixture
async def policy(cluster: Cluster, namespace: str) -> AsyncIterator[None]:
    """An admission policy that is in force in the namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    forbidden = "object.spec.containers.exists(c, has(c.env) && c.env.exists(e, e.name == 'EVE'))"
    body = {
        "metadata": {"name": namespace},
        "spec": {
            "matchConstraints": {"resourceRules": [rule], "namespaceSelector": selector},
            "validations": [{"expression": f"!{forbidden}", "message": "Nobody may be called eve"}],
        },
    }
    binding = {
        "metadata": {"name": namespace},
        "spec": {"policyName": namespace, "validationActions": ["Deny"]},
    }
    await cluster.create(POLICIES, None, body)
    try:
        await cluster.create(BINDINGS, None, binding)
        await until(lambda: is_refused(cluster, namespace))
        yield
    finally:
        await cluster.delete(BINDINGS, None, namespace)
        await cluster.delete(POLICIES, None, namespace)


async def is_refused(cluster: Cluster, namespace: str) -> bool:
    container = {"name": "a", "image": "a", "env": [{"name": "EVE", "value": ""}]}
    body = {"metadata": {"name": "eve"}, "spec": {"containers": [container]}}
    try:
        await cluster.create(PODS, namespace, body, dry_run=True)
    except ApiError as error:
        return "Nobody may be called eve" in error.message
    return False


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Ask again and again, where nothing can be watched."""
    async with asyncio.timeout(DEADLINE):
        while not await holds():  # noqa: ASYNC110 - what is asked for is on the API server
            await asyncio.sleep(0.2)


async def limit_gpus(cluster: Cluster, namespace: str, number: int) -> None:
    quota = {"metadata": {"name": "gpus"}, "spec": {"hard": {f"requests.{GPU}": str(number)}}}
    await cluster.create(QUOTAS, namespace, quota)


def said(kernel: Object, kind: str) -> tuple[str, str]:
    entry = condition(kernel, kind) or {}
    return entry.get("reason", ""), entry.get("message", "")


async def test_what_cannot_start_fails_in_seconds(
    cluster: Cluster,
    namespace: str,
    running: Any,
    launch: Any,
    observed: Observed,
    policy: None,
    table: Any,
) -> None:
    await limit_gpus(cluster, namespace, 100)
    secret = {"metadata": {"name": "present"}, "stringData": {"key": "value"}}
    await cluster.create(SECRETS, namespace, secret)
    problems = []

    async def check(name: str, case: Case) -> None:
        began = time.monotonic()
        kernel = await launch(name, case)
        kernel = await observed.phase(kernel, "Failed", seconds=case.seconds)
        seconds = time.monotonic() - began
        reason, message = said(kernel, "Failed")
        table.append((name, seconds, reason, message))
        if reason != case.reason or case.words not in message:
            problems.append((name, seconds, reason, message))
        # What holds a node, or a place in line for one, is given back.
        await observed.pod(
            name_of(kernel), lambda pod: not pod or pod["status"]["phase"] == "Failed"
        )

    async with reflecting(cluster, EVENTS, namespace) as events, running():
        async with asyncio.TaskGroup() as group:
            for name, case in FATAL.items():
                group.create_task(check(name, case))
        assert problems == []
        for kernel in observed.kernels.store:
            await has_event(events, kernel, said(kernel, "Failed")[0], "Warning")


async def has_event(events: Any, kernel: Object, reason: str, kind: str) -> None:
    """An Event of that reason and type is on the kernel, or comes to be."""

    def is_there() -> bool:
        return any(
            event["involvedObject"].get("uid") == uid_of(kernel)
            and (event["reason"], event["type"]) == (reason, kind)
            for event in events.store
        )

    async def look() -> bool:
        return is_there()

    await until(look)


async def test_what_waits_says_what_for(
    cluster: Cluster,
    namespace: str,
    running: Any,
    launch: Any,
    remove: Any,
    observed: Observed,
    images: Images,
    table: Any,
) -> None:
    nodes = (await cluster.list(NODES, None))["items"]
    there = sum(int(item["status"]["allocatable"].get(GPU, 0)) for item in nodes)
    assert there, "the cluster has no GPUs to wait for"
    await limit_gpus(cluster, namespace, there + 2)
    began = time.monotonic()

    async def waits(name: str, kernel: Object, reason: str, words: str) -> Object:
        kernel = await observed.kernel(kernel, lambda s: words in said({"status": s}, "Running")[1])
        found, message = said(kernel, "Running")
        table.append((name, time.monotonic() - began, found, message))
        assert found == reason
        assert kernel_model(kernel)["since"]
        return kernel

    init = {
        "name": "prepare",
        "image": images.name("kernel"),
        "imagePullPolicy": images.pull_policy,
        "command": ["sleep", "3600"],
    }
    async with reflecting(cluster, EVENTS, namespace) as events, running():
        down = await launch("down", Case("", "", image("down")))
        prepared = await launch("prepared", Case("", "", {}, {"initContainers": [init]}))
        holders = [
            await observed.phase(await launch(f"holder-{n}", Case("", "", gpus(1))), "Running")
            for n in range(there)
        ]
        first = await launch("first", Case("", "", gpus(1)))
        first = await waits("GPUs are taken", first, "Unschedulable", "first in line")
        # Their ages are in whole seconds.
        await until(younger_than(first))
        second = await launch("second", Case("", "", gpus(1)))
        second = await waits("... and waited for", second, "WaitingInLine", "1 kernel waits before")
        assert "1 GPU (nvidia.com/gpu)" in said(second, "Running")[1]
        assert kernel_model(second)["waiting_behind"] == 1
        assert status_of(second)["start"]["deadline"]
        await has_event(events, first, "Unschedulable", "Warning")
        await has_event(events, second, "WaitingInLine", "Normal")
        third = await launch("third", Case("", "", gpus(1)))
        await waits("the namespace is full", third, "NamespaceFull", "ResourceQuota")
        await waits("registry is down, at first", down, "ImageError", "is tried again")
        # Not before: a kubelet pulls one image at a time.
        slow = await launch("slow", Case("", "", image("slow")))
        await waits("image is being pulled", slow, "PullingImage", "is being pulled")
        await has_event(events, slow, "PullingImage", "Normal")
        await waits("init container runs", prepared, "Initializing", "prepare runs")
        await scale_up(cluster, observed, first)
        await waits("a node is being added", first, "ScalingUp", "A node is being added")

        await remove(name_of(holders.pop()))
        first = await observed.phase(first, "Running")
        assert "start" not in status_of(first)
        await remove(name_of(first))
        await observed.phase(second, "Running")
        # One of the three that the quota counted has gone: there is room for another.
        third = await observed.kernel(third, lambda s: s.get("podName"))


def younger_than(kernel: Object) -> Callable[[], Awaitable[bool]]:
    """Whether a kernel that is made now is younger than that one, by its creationTimestamp."""
    made = timestamps.parse(kernel["metadata"]["creationTimestamp"])
    assert made is not None

    async def is_later() -> bool:
        return datetime.now(UTC) >= made + timedelta(seconds=1)

    return is_later


async def scale_up(cluster: Cluster, observed: Observed, kernel: Object) -> None:
    """What a cluster autoscaler writes when it adds a node for a pod."""
    pod = observed.pods_of(kernel)[0]
    body = {
        "metadata": {"generateName": "scale-up-"},
        "involvedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": name_of(pod),
            "namespace": namespace_of(pod),
            "uid": uid_of(pod),
        },
        "type": "Normal",
        "reason": "TriggeredScaleUp",
        "message": "pod triggered scale-up: [{gpu-pool 0->1 (max: 3)}]",
        "source": {"component": "cluster-autoscaler"},
        "count": 1,
    }
    await cluster.create(EVENTS, namespace_of(pod), body)


async def test_each_step_has_its_deadline(
    cluster: Cluster,
    namespace: str,
    running: Any,
    launch: Any,
    observed: Observed,
    images: Images,
    table: Any,
) -> None:
    init = {
        "name": "prepare",
        "image": images.name("kernel"),
        "imagePullPolicy": images.pull_policy,
        "command": ["sleep", "3600"],
    }
    cases = {
        "pull takes too long": Case("ImageTimeout", "start.imageTimeout", image("slow")),
        "preparation takes too long": Case(
            "ContainerTimeout", "start.containerTimeout", {}, {"initContainers": [init]}
        ),
        "too large, and nodes may be added": Case(
            "SchedulingTimeout", "start.schedulingTimeout", gpus(99)
        ),
    }
    limits = {
        "schedulingTimeout": 4,
        "imageTimeout": 4,
        # A busy node can take a while before it begins with a pull.
        "containerTimeout": 15,
        "admissionTimeout": 4,
        "autoscaler": True,
    }

    async def check(name: str, case: Case) -> None:
        began = time.monotonic()
        kernel = await observed.phase(await launch(name, case), "Failed", "Running")
        reason, message = said(kernel, "Failed")
        table.append((name, time.monotonic() - began, reason, message))
        assert reason == case.reason
        assert case.words in message

    async with running(start=limits), asyncio.TaskGroup() as group:
        for name, case in cases.items():
            group.create_task(check(name, case))


@pytest.fixture
async def no_pods(cluster: Cluster, namespace: str) -> AsyncIterator[None]:
    """A webhook that has to be asked before a pod is made, and does not answer."""
    rule = {
        "apiGroups": [""],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["pods"],
    }
    webhook = {
        "name": "absent.example.org",
        "clientConfig": {"url": "https://127.0.0.1:9/"},
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    }
    await cluster.create(WEBHOOKS, None, {"metadata": {"name": namespace}, "webhooks": [webhook]})

    async def is_in_force() -> bool:
        body = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
        try:
            await cluster.create(PODS, namespace, body, dry_run=True)
        except ApiError as error:
            return error.status == 500
        return False

    try:
        await until(is_in_force)
        yield
    finally:
        await cluster.delete(WEBHOOKS, None, namespace)


async def test_a_pod_that_cannot_be_made_is_tried_for_a_while(
    running: Any, start: Any, observed: Observed, no_pods: None, table: Any
) -> None:
    began = time.monotonic()
    async with running(start={"admissionTimeout": 3}):
        kernel = await start()
        kernel = await observed.kernel(kernel, lambda s: said({"status": s}, "Running")[0])
        reason, message = said(kernel, "Running")
        table.append(("a webhook does not answer", time.monotonic() - began, reason, message))
        assert (reason, "absent.example.org" in message) == ("PodNotMade", True)
        kernel = await observed.phase(kernel, "Failed")
        reason, message = said(kernel, "Failed")
        table.append(("... for too long", time.monotonic() - began, reason, message))
        assert (reason, "start.admissionTimeout" in message) == ("AdmissionTimeout", True)

"""Starts that fail, as a notebook meets them: through the hub and its own server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import NamedTuple

import pytest

from demo.install import Images
from hub_service.kinds import (
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    Object,
    Resource,
)
from hub_service.kube import Cluster
from tests.e2e.support import House, Told, attempt
from tests.integration import registry
from tests.integration.support import an_object

pytestmark = pytest.mark.one_mode

GPU = "nvidia.com/gpu"
PREFIX = "broken-"


class Case(NamedTuple):
    """A kernel spec, the pod template that it names if any, and what its start comes to."""

    reason: str
    words: str
    spec: Object
    pod_spec: Object | None = None


def image(name: str) -> Object:
    return {"image": f"{registry.ADDRESS}/{name}:1"}


def kernel(**fields: object) -> Object:
    """Of the container in a template."""
    return {"containers": [{"name": "kernel", **fields}]}


VOLUME = {"name": "extra", "secret": {"secretName": "absent"}}
CLAIM = {"name": "home", "persistentVolumeClaim": {"claimName": "absent"}}
MOUNT = {"name": "extra", "mountPath": "/extra"}

CASES = {
    "no-image": Case("ImageNotFound", "does not exist", image("none")),
    "denied-image": Case("ImagePullFailed", "pull secret", image("secret")),
    "image-name": Case("InvalidImageName", "can't be used", {"image": "No/Image"}),
    "command": Case("BadCommand", "/no/such", {"command": ["/no/such"]}),
    "crash": Case(
        "CrashedAtStart", "no licence", {"command": ["sh", "-c", "echo no licence; exit 3"]}
    ),
    "config-map": Case(
        "ReferenceNotFound", "ConfigMap 'absent'", {},
        kernel(envFrom=[{"configMapRef": {"name": "absent"}}]),
    ),
    "secret": Case(
        "ReferenceNotFound", "Secret 'absent'", {},
        {**kernel(volumeMounts=[MOUNT]), "volumes": [VOLUME]},
    ),
    "claim": Case(
        "ReferenceNotFound", "PersistentVolumeClaim 'absent'", {}, {"volumes": [CLAIM]}
    ),
    "gpus": Case("LargerThanAnyNode", "99 GPUs", {"resources": {"limits": {GPU: 99}}}),
    "node": Case("NoMatchingNode", "pool=absent", {"nodeSelector": {"pool": "absent"}}),
    "rejected": Case("PodRejected", "absent", {"runtimeClassName": "absent"}),
    "template": Case("TemplateNotFound", "absent", {"template": {"name": "absent"}}),
}  # fmt: skip


@pytest.fixture
async def specs(cluster: Cluster, namespace: str, images: Images) -> AsyncIterator[None]:
    """Kernel specs that can't be started from, and a registry without images."""
    made: list[tuple[Resource, str]] = []

    async def make(resource: Resource, name: str, spec: Object) -> None:
        await cluster.create(resource, namespace, an_object(resource, name, spec))
        made.append((resource, name))

    async with registry.serving(cluster, images.name("kernel"), images.pull_policy) as node:
        try:
            for case_name, case in CASES.items():
                name = PREFIX + case_name
                spec = {"image": images.name("kernel"), **case.spec}
                if registry.ADDRESS in spec["image"]:
                    spec["nodeSelector"] = {"kubernetes.io/hostname": node}
                if case.pod_spec is not None:
                    await make(
                        JUPYTER_KERNEL_TEMPLATES, name, {"template": {"spec": case.pod_spec}}
                    )
                    spec["template"] = {"name": name}
                await make(JUPYTER_KERNEL_SPECS, name, spec)
            yield
        finally:
            for resource, name in made:
                await cluster.delete(resource, namespace, name)


async def test_what_can_not_start_tells_its_user_why(house: House, specs: None) -> None:
    ada = await house.open("ada")
    listed: set[str] = set()
    async with asyncio.timeout(20):
        while not {PREFIX + name for name in CASES} - {PREFIX + "template"} <= listed:
            listed = set((await ada.kernelspecs())["kernelspecs"])
    told: dict[str, Told] = {}
    two_at_once = asyncio.Semaphore(2)  # her quota

    async def check(name: str) -> None:
        async with two_at_once:
            told[name] = await attempt(ada, PREFIX + name)

    async with asyncio.TaskGroup() as group:
        for name in CASES:
            group.create_task(check(name))

    print("\n\nseconds  case | where: text")
    for name, what in sorted(told.items()):
        text = what.text.strip().replace("\n", " / ")
        print(f"{what.seconds:7.1f}  {name} | {what.where}: {text}")
    wrong = {
        name: told[name]
        for name, case in CASES.items()
        if case.words not in told[name].text or told[name].seconds > 60
    }
    assert wrong == {}

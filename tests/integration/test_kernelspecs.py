"""What the service says of JupyterKernelSpecs and JupyterKernelTemplates."""

from __future__ import annotations

from typing import Any

from demo.install import kubectl
from hub_service.kinds import (
    EVENTS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    Object,
    Resource,
    condition,
    name_of,
)
from hub_service.kube import Cluster, Reflector
from tests.integration.support import DEADLINE, Observed, an_object, reflecting


def a_spec(name: str, **fields: Any) -> Object:
    return an_object(JUPYTER_KERNEL_SPECS, name, {"image": "kernel:1", **fields})


def a_template(name: str, **pod_spec: Any) -> Object:
    return an_object(JUPYTER_KERNEL_TEMPLATES, name, {"template": {"spec": pod_spec}})


async def said(reflector: Reflector, namespace: str, name: str, reason: str, **fields: Any) -> str:
    """The message of Accepted, once it has that reason and the status those fields."""

    def holds(item: Object | None) -> bool:
        entry = condition(item or {}, "Accepted") or {}
        status = (item or {}).get("status") or {}
        return entry.get("reason") == reason and status.items() >= fields.items()

    try:
        item = await reflector.wait_for((namespace, name), holds, DEADLINE)
    except TimeoutError:
        raise AssertionError(reflector.store.get((namespace, name))) from None
    assert item is not None
    return str((condition(item, "Accepted") or {})["message"])


async def test_specs_say_what_is_wrong_and_how_many_kernels_there_are(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed, remove: Any
) -> None:
    async with (
        running(),
        reflecting(cluster, JUPYTER_KERNEL_SPECS, namespace) as specs,
        reflecting(cluster, JUPYTER_KERNEL_TEMPLATES, namespace) as templates,
    ):

        async def make(resource: Resource, body: Object) -> None:
            await cluster.create(resource, namespace, body)

        await make(JUPYTER_KERNEL_SPECS, a_spec("python"))
        await said(specs, namespace, "python", "Accepted", kernels=0, observedGeneration=1)

        await make(JUPYTER_KERNEL_SPECS, a_spec("late", template={"name": "base"}))
        assert "Create it" in await said(specs, namespace, "late", "TemplateNotFound")
        await make(JUPYTER_KERNEL_TEMPLATES, a_template("base", restartPolicy="Always"))
        await said(specs, namespace, "late", "Accepted")
        await said(templates, namespace, "base", "Corrected", specs=1)

        await make(JUPYTER_KERNEL_SPECS, a_spec("classy", runtimeClassName="not-there"))
        assert "not-there" in await said(specs, namespace, "classy", "PodRejected")
        await make(
            JUPYTER_KERNEL_SPECS,
            a_spec("elsewhere", template={"name": "x", "namespace": "kube-system"}),
        )
        assert "kube-system/x" in await said(specs, namespace, "elsewhere", "TemplateNotFound")
        assert "not-there" in kubectl("-n", namespace, "get", "jks", "classy", "-o", "wide")

        kernel = await start(kernelTemplate={"name": "base", "namespace": namespace})
        await observed.phase(kernel, "Running")
        await said(specs, namespace, "python", "Accepted", kernels=1)
        await said(templates, namespace, "base", "Corrected", kernels=1)
        await remove(name_of(kernel))
        await said(specs, namespace, "python", "Accepted", kernels=0)
        await said(templates, namespace, "base", "Corrected", kernels=0)


async def test_deleting_a_spec_in_use_ends_no_kernel_and_is_said(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed, remove: Any
) -> None:
    async with running(), reflecting(cluster, EVENTS, namespace) as events:
        await cluster.create(JUPYTER_KERNEL_SPECS, namespace, a_spec("python"))
        await cluster.create(JUPYTER_KERNEL_TEMPLATES, namespace, a_template("base"))
        kernel = await start(kernelTemplate={"name": "base", "namespace": namespace})
        await observed.phase(kernel, "Running")
        for resource, name, kind in (
            (JUPYTER_KERNEL_SPECS, "python", "jupyterkernelspec"),
            (JUPYTER_KERNEL_TEMPLATES, "base", "jupyterkerneltemplate"),
        ):
            assert events.store.get((namespace, f"{name_of(kernel)}.{kind}-deleted")) is None
            await remove(name, resource)
            event = await events.wait_for(
                (namespace, f"{name_of(kernel)}.{kind}-deleted"), bool, DEADLINE
            )
            assert event is not None
            assert "runs on" in event["message"]
        await observed.phase(kernel, "Running")

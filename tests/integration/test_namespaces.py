"""Namespaces of users and further ones: what the service does in each of them."""

from __future__ import annotations

from typing import Any

from hub_service.kinds import (
    JUPYTER_KERNELS,
    LABEL_FOR_USER_NAMESPACES,
    LABEL_OWNER,
    NAMESPACES,
    NETWORK_POLICIES,
    Object,
    condition,
    name_of,
    namespace_of,
    spec_of,
)
from hub_service.kube import Cluster
from tests.integration.support import DEADLINE, Observed, reflecting


def a_policy(port: int) -> Object:
    return {
        "apiVersion": NETWORK_POLICIES.api_version,
        "kind": NETWORK_POLICIES.kind,
        "metadata": {"name": "kernels", "labels": {LABEL_FOR_USER_NAMESPACES: "true"}},
        "spec": {"podSelector": {}, "ingress": [{"ports": [{"port": port, "protocol": "TCP"}]}]},
    }


def opens(port: int) -> Any:
    return lambda item: item is not None and spec_of(item)["ingress"][0]["ports"][0]["port"] == port


async def test_users_namespaces_have_the_shared_ones_policies(
    cluster: Cluster, namespace: str, running: Any
) -> None:
    of_ada, stranger = f"{namespace}-ada", f"{namespace}-stranger"
    not_for_all = {**a_policy(3), "metadata": {"name": "here-only"}}
    await cluster.create(NETWORK_POLICIES, namespace, a_policy(1))
    await cluster.create(NETWORK_POLICIES, namespace, not_for_all)
    labels = {of_ada: {LABEL_OWNER: "ada"}, stranger: {}}
    for name, of_it in labels.items():
        await cluster.create(NAMESPACES, None, {"metadata": {"name": name, "labels": of_it}})
    try:
        async with (
            running(userNamespaces={"enabled": True}),
            reflecting(cluster, NETWORK_POLICIES, of_ada) as copies,
        ):
            key = (of_ada, "kernels")
            await copies.wait_for(key, opens(1), DEADLINE)
            patch = {"spec": a_policy(2)["spec"]}
            await cluster.merge_patch(NETWORK_POLICIES, namespace, "kernels", patch)
            await copies.wait_for(key, opens(2), DEADLINE)
            await cluster.delete(NETWORK_POLICIES, namespace, "kernels")
            await copies.wait_for(key, lambda item: item is None, DEADLINE)
            assert list(copies.store) == []
        assert (await cluster.list(NETWORK_POLICIES, stranger))["items"] == []
    finally:
        for name in labels:
            await cluster.delete(NAMESPACES, None, name)


async def test_kernels_of_a_further_namespace_run_and_count(
    cluster: Cluster, namespace: str, running: Any, start: Any, observed: Observed
) -> None:
    lab = f"{namespace}-lab"
    await cluster.create(NAMESPACES, None, {"metadata": {"name": lab}})
    try:
        async with running(extraNamespaces=[lab]), Observed.of(cluster, lab) as in_lab:
            first = await observed.phase(await start(), "Running")
            second = await in_lab.phase(await start(where=lab), "Running")
            assert [namespace_of(pod) for pod in in_lab.pods_of(second)] == [lab]
            third = await in_lab.phase(await start(where=lab), "Refused")
            refused = condition(third, "Admitted")
            assert refused is not None
            # Both are named to the user, wherever they are.
            for kernel in (first, second):
                assert spec_of(kernel)["kernelID"] in refused["message"]
            await cluster.delete(JUPYTER_KERNELS, lab, name_of(second))
            await in_lab.pod(name_of(second), lambda pod: pod is None)
    finally:
        await cluster.delete(NAMESPACES, None, lab)

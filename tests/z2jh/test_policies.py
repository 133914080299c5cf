"""The network policies open what elastic kernels need, and nothing else."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import yaml

from demo.install import HUB_NAMESPACE, ROOT
from elastic_spawner.gateway.kernel_resource import PORTS
from hub_service.kinds import (
    LABEL_COMPONENT,
    LABEL_FOR_USER_NAMESPACES,
    LABEL_NETWORK_ACCESS_HUB,
)
from hub_service.namespaces import copied_policies
from tests.z2jh.chart import VALUES, Chart, render
from tests.z2jh.policies import Place, Policy, lets_through

USERS = "jupyter-users"
ASKS_THE_HUB = {LABEL_NETWORK_ACCESS_HUB: "true"}
SINGLEUSER = {
    "app": "jupyterhub",
    "release": "jupyterhub",
    "component": "singleuser-server",
    LABEL_COMPONENT: "singleuser-server",
    **ASKS_THE_HUB,
}
NOTEBOOK = Place("10.1.0.1", USERS, SINGLEUSER, {"notebook-port": 8888})
GATEWAY = Place("10.1.0.2", USERS, {LABEL_COMPONENT: "gateway", **ASKS_THE_HUB})
KERNEL = Place("10.1.0.3", USERS, {LABEL_COMPONENT: "kernel"})
STRANGER = Place("10.1.0.4", USERS, {"app": "stranger"})
HUBS_NEIGHBOUR = Place("10.1.0.5", HUB_NAMESPACE, SINGLEUSER, {"notebook-port": 8888})
NEIGHBOURING_GATEWAY = Place("10.1.0.6", HUB_NAMESPACE, GATEWAY.labels)
NAMES = Place("10.1.0.7", "kube-system", {"k8s-app": "kube-dns"})
API_SERVER, METADATA, INTERNET = Place("10.0.0.1"), Place("169.254.169.254"), Place("203.0.113.1")
SHELL = PORTS["shell_port"]


@pytest.fixture(scope="module")
def manifests(chart: Chart) -> list[dict[str, Any]]:
    return render(chart, [VALUES / "elastic.yaml"])


@pytest.fixture(scope="module")
def policies(manifests: list[dict[str, Any]]) -> list[Policy]:
    return policies_of(manifests)


def policies_of(manifests: list[dict[str, Any]]) -> list[Policy]:
    """The chart's, and those beside its values."""
    own = yaml.safe_load_all((ROOT / "helm-values" / "network-policies.yaml").read_text())
    found = [m for m in [*manifests, *own] if m["kind"] == "NetworkPolicy"]
    for policy in found:
        policy["metadata"].setdefault("namespace", HUB_NAMESPACE)
    assert {p["metadata"]["name"] for p in found} >= {"hub", "proxy", "singleuser"}
    return found


@pytest.fixture(scope="module")
def hub(manifests: list[dict[str, Any]]) -> Place:
    return core_pod(manifests, "hub")


@pytest.fixture(scope="module")
def proxy(manifests: list[dict[str, Any]]) -> Place:
    return core_pod(manifests, "proxy")


def core_pod(manifests: list[dict[str, Any]], name: str) -> Place:
    (pod,) = [
        m["spec"]["template"]
        for m in manifests
        if (m["kind"], m["metadata"]["name"]) == ("Deployment", name)
    ]
    ports = {p["name"]: p["containerPort"] for p in pod["spec"]["containers"][0]["ports"]}
    return Place("10.2.0.1", HUB_NAMESPACE, pod["metadata"]["labels"], ports)


def test_what_the_path_needs_is_open(policies: list[Policy], hub: Place, proxy: Place) -> None:
    for name, source, target, port in [
        ("login: proxy to hub", proxy, hub, 8081),
        ("proxy to the service's pages", proxy, hub, 10101),
        ("the hub waits for its service", hub, hub, 10101),
        ("proxy to notebook", proxy, NOTEBOOK, 8888),
        ("the hub waits for the notebook", hub, NOTEBOOK, 8888),
        ("notebook to hub", NOTEBOOK, hub, 8081),
        ("notebook to gateway", NOTEBOOK, GATEWAY, 8888),
        ("gateway asks the hub who is calling", GATEWAY, hub, 8081),
        ("gateway to API server", GATEWAY, API_SERVER, 443),
        ("gateway to kernel", GATEWAY, KERNEL, SHELL),
        ("gateway to kernel's heart", GATEWAY, KERNEL, PORTS["hb_port"]),
        ("the service asks before it culls", hub, GATEWAY, 8888),
        ("the service to API server", hub, API_SERVER, 443),
        ("kernel fetches packages", KERNEL, INTERNET, 443),
        ("notebook in the hub's namespace to gateway", HUBS_NEIGHBOUR, NEIGHBOURING_GATEWAY, 8888),
    ]:
        assert lets_through(policies, source, target, port), name
    for pod in (NOTEBOOK, KERNEL):
        assert lets_through(policies, pod, NAMES, 53, "UDP")


def test_the_rest_is_closed(policies: list[Policy], hub: Place, proxy: Place) -> None:
    for name, source, target, port in [
        ("kernel to hub", KERNEL, hub, 8081),
        ("kernel to service", KERNEL, hub, 10101),
        ("kernel to proxy's API", KERNEL, proxy, 8001),
        ("kernel to gateway", KERNEL, GATEWAY, 8888),
        ("kernel to notebook", KERNEL, NOTEBOOK, 8888),
        ("kernel to kernel", KERNEL, KERNEL, SHELL),
        ("kernel to API server", KERNEL, API_SERVER, 443),
        ("kernel to the cloud's metadata", KERNEL, METADATA, 80),
        ("notebook to kernel", NOTEBOOK, KERNEL, SHELL),
        ("notebook to notebook", NOTEBOOK, NOTEBOOK, 8888),
        ("notebook to service past the proxy", NOTEBOOK, hub, 10101),
        ("notebook to the cloud's metadata", NOTEBOOK, METADATA, 80),
        ("notebook to API server", NOTEBOOK, API_SERVER, 443),
        ("hub to kernel", hub, KERNEL, SHELL),
        ("stranger to hub", STRANGER, hub, 8081),
        ("stranger to gateway", STRANGER, GATEWAY, 8888),
        ("stranger to kernel", STRANGER, KERNEL, SHELL),
    ]:
        assert not lets_through(policies, source, target, port), name


def of_user(pod: Place, name: str) -> Place:
    """The same pod in the namespace of a user."""
    return dataclasses.replace(pod, namespace=f"hub-{name}", owner=name)


def test_namespaces_of_users_are_as_open_and_as_closed(chart: Chart) -> None:
    manifests = render(chart, [VALUES / "elastic.yaml", VALUES / "namespaces-per-user.yaml"])
    policies = policies_of(manifests)
    shared = [p for p in policies if LABEL_FOR_USER_NAMESPACES in p["metadata"].get("labels", {})]
    assert len(shared) == 3
    for name in ("ada", "grace"):  # as the service does
        policies += copied_policies(shared, f"hub-{name}")
    hub, proxy = core_pod(manifests, "hub"), core_pod(manifests, "proxy")
    notebook, gateway, kernel = (of_user(pod, "ada") for pod in (NOTEBOOK, GATEWAY, KERNEL))
    other, others_gateway, others_kernel = (
        of_user(pod, "grace") for pod in (NOTEBOOK, GATEWAY, KERNEL)
    )

    for what, source, target, port in [
        ("notebook to hub", notebook, hub, 8081),
        ("gateway to hub", gateway, hub, 8081),
        ("proxy to notebook", proxy, notebook, 8888),
        ("the hub waits for the notebook", hub, notebook, 8888),
        ("the service asks before it culls", hub, gateway, 8888),
        ("notebook to its user's gateway", notebook, gateway, 8888),
        ("that gateway to kernel", gateway, kernel, SHELL),
        ("notebook to the shared gateway", notebook, GATEWAY, 8888),
        ("the shared gateway to kernel", GATEWAY, kernel, SHELL),
        ("kernel fetches packages", kernel, INTERNET, 443),
    ]:
        assert lets_through(policies, source, target, port), what
    for what, source, target, port in [
        ("kernel to hub", kernel, hub, 8081),
        ("kernel to its own gateway", kernel, gateway, 8888),
        ("kernel to the shared gateway", kernel, GATEWAY, 8888),
        ("kernel to notebook", kernel, notebook, 8888),
        ("kernel to another user's kernel", kernel, others_kernel, SHELL),
        ("kernel to API server", kernel, API_SERVER, 443),
        ("kernel to the cloud's metadata", kernel, METADATA, 80),
        ("another user's notebook to gateway", other, gateway, 8888),
        ("another user's notebook to notebook", other, notebook, 8888),
        ("another user's gateway to kernel", others_gateway, kernel, SHELL),
        ("unlabelled namespace to hub", dataclasses.replace(notebook, owner=""), hub, 8081),
    ]:
        assert not lets_through(policies, source, target, port), what

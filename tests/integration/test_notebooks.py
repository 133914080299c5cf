"""JupyterNotebooks on a real cluster: parts, tokens, gateways, and the end of their kernels."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from hub_service.kinds import (
    DEPLOYMENTS,
    JUPYTER_GATEWAYS,
    JUPYTER_NOTEBOOKS,
    NAMESPACES,
    SECRETS,
    SERVICES,
    Object,
    name_of,
    status_of,
)
from hub_service.kube import ApiError, Cluster, Reflector
from hub_service.notebooks import notebook_tokens
from tests.integration.support import DEADLINE, Observed, an_object, reflecting, says

HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA"


@pytest.fixture
async def notebooks(cluster: Cluster, namespace: str) -> AsyncIterator[Reflector]:
    async with reflecting(cluster, JUPYTER_NOTEBOOKS, namespace) as reflector:
        yield reflector


def a_notebook(**spec: Any) -> Object:
    return an_object(JUPYTER_NOTEBOOKS, "nb", spec)


async def plain_secret(cluster: Cluster, namespace: str) -> dict[str, str]:
    secret = await cluster.get(SECRETS, namespace, "nb-tokens")
    return {key: base64.b64decode(value).decode() for key, value in secret["data"].items()}


async def test_a_notebook_its_parts_and_its_gateway(
    cluster: Cluster, namespace: str, running: Any, notebooks: Reflector
) -> None:
    """The gateway comes after the notebook, as people may apply them."""
    key, gateway = (namespace, "nb"), {"name": "shared"}
    async with running(notebook={"image": "elastic/none:none", "imagePullPolicy": "Never"}):
        await cluster.create(
            JUPYTER_NOTEBOOKS, namespace, a_notebook(gateway={"name": "later"}, owner="ada")
        )
        await notebooks.wait_for(key, says("Accepted", "True"), DEADLINE)
        await notebooks.wait_for(key, says("GatewayAccepted", "False", "later"), DEADLINE)
        await cluster.merge_patch(
            JUPYTER_NOTEBOOKS, namespace, "nb", {"spec": {"gateway": gateway}}
        )
        found = await notebooks.wait_for(key, says("GatewayAccepted", "True"), DEADLINE)
        assert found is not None
        for resource, name in ((DEPLOYMENTS, "nb"), (SERVICES, "nb"), (SECRETS, "nb-tokens")):
            part = await cluster.get(resource, namespace, name)
            assert part["metadata"]["ownerReferences"][0]["uid"] == found["metadata"]["uid"]
        secret = await plain_secret(cluster, namespace)
        digest = notebook_tokens.token_hash(secret["gatewayToken"])
        entry = {"name": "nb", "namespace": namespace, "owner": "ada", "tokenHash": digest}
        shared = await cluster.get(JUPYTER_GATEWAYS, namespace, "shared")
        assert status_of(shared)["notebooks"] == [entry]
        # Nothing readable of the tokens is anywhere but in the Secret.
        deployment = await cluster.get(DEPLOYMENTS, namespace, "nb")
        for text in (json.dumps(deployment), json.dumps(found)):
            assert secret["token"] not in text
            assert secret["gatewayToken"] not in text
        # Away again.
        await cluster.merge_patch(JUPYTER_NOTEBOOKS, namespace, "nb", {"spec": {"gateway": None}})
        await notebooks.wait_for(key, says("GatewayAccepted", "True", "own pod"), DEADLINE)
        async with reflecting(cluster, JUPYTER_GATEWAYS, namespace) as gateways:
            await gateways.wait_for(
                (namespace, "shared"), lambda g: g and "notebooks" not in g["status"], DEADLINE
            )


async def test_tokens_stay_and_what_lets_people_in_changes(
    cluster: Cluster, namespace: str, running: Any, notebooks: Reflector
) -> None:
    key = (namespace, "nb")
    async with (
        running(notebook={"image": "elastic/none:none", "imagePullPolicy": "Never"}),
        reflecting(cluster, DEPLOYMENTS, namespace) as deployments,
    ):
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, a_notebook())
        await notebooks.wait_for(key, says("Accepted", "True"), DEADLINE)
        first = await plain_secret(cluster, namespace)
        assert first["token"]
        before = await cluster.get(DEPLOYMENTS, namespace, "nb")
        auth = {"token": "mine", "password": HASH}
        await cluster.merge_patch(JUPYTER_NOTEBOOKS, namespace, "nb", {"spec": {"auth": auth}})
        # A new pod reads the new configuration.
        generation = before["metadata"]["generation"]
        await deployments.wait_for(
            key, lambda d: d is not None and d["metadata"]["generation"] > generation, DEADLINE
        )
        second = await plain_secret(cluster, namespace)
        assert second["gatewayToken"] == first["gatewayToken"]
        assert second["token"] == "mine"
        config = json.loads(second["jupyter_server_config.json"])
        assert config["PasswordIdentityProvider"]["hashed_password"] == HASH
    # A service that starts later finds the tokens, and changes nothing.
    version = (await cluster.get(DEPLOYMENTS, namespace, "nb"))["metadata"]["generation"]
    async with running(notebook={"image": "elastic/none:none", "imagePullPolicy": "Never"}):
        label = {"metadata": {"labels": {"note": "x"}}}
        await cluster.merge_patch(JUPYTER_NOTEBOOKS, namespace, "nb", label)
        other = a_notebook() | {"metadata": {"name": "other"}}
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, other)
        await notebooks.wait_for((namespace, "other"), says("Accepted", "True"), DEADLINE)
    assert await plain_secret(cluster, namespace) == second
    after = await cluster.get(DEPLOYMENTS, namespace, "nb")
    assert after["metadata"]["generation"] == version


async def test_what_cannot_be_carried_out_is_said(
    cluster: Cluster, namespace: str, running: Any, notebooks: Reflector
) -> None:
    key = (namespace, "nb")
    async with running():  # with no image for notebooks
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, a_notebook())
        await notebooks.wait_for(key, says("Accepted", "False", "notebook.image"), DEADLINE)
        container = {"name": "notebook", "image": "x", "ports": [{"containerPort": 70000}]}
        template = {"spec": {"containers": [container]}}
        await cluster.merge_patch(
            JUPYTER_NOTEBOOKS, namespace, "nb", {"spec": {"template": template}}
        )
        await notebooks.wait_for(key, says("Accepted", "False", "containerPort"), DEADLINE)
        del container["ports"]
        await cluster.merge_patch(
            JUPYTER_NOTEBOOKS, namespace, "nb", {"spec": {"template": template}}
        )
        await notebooks.wait_for(key, says("Accepted", "True"), DEADLINE)


async def test_somebody_elses_secret_is_left_alone(
    cluster: Cluster, namespace: str, running: Any, notebooks: Reflector
) -> None:
    theirs = {"metadata": {"name": "nb-tokens"}, "stringData": {"token": "theirs"}}
    await cluster.create(SECRETS, namespace, theirs)
    async with running(notebook={"image": "elastic/none:none", "imagePullPolicy": "Never"}):
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, a_notebook())
        await notebooks.wait_for(
            (namespace, "nb"), says("Accepted", "False", "isn't this notebook's"), DEADLINE
        )
    assert await plain_secret(cluster, namespace) == {"token": "theirs"}


async def test_a_plain_password_is_refused_with_the_way_to_a_hash(
    cluster: Cluster, namespace: str
) -> None:
    body = a_notebook(auth={"password": "secret"})
    with pytest.raises(ApiError, match=r"spec\.auth\.password must be a hash.*passwd"):
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, body)


async def test_kernels_end_with_their_notebook_even_if_the_service_was_away(
    cluster: Cluster,
    namespace: str,
    running: Any,
    start: Any,
    observed: Observed,
    notebooks: Reflector,
) -> None:
    image = {"image": "elastic/none:none", "imagePullPolicy": "Never"}
    reference = {"name": "nb", "namespace": namespace}
    async with running(notebook=image):
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, a_notebook(owner="ada"))
        await notebooks.wait_for((namespace, "nb"), says("Accepted", "True"), DEADLINE)
        of_notebook = await start("ada", notebook=reference)
        of_ada = await start("ada")
        for kernel in (of_notebook, of_ada):
            await observed.phase(kernel, "Running")
        await cluster.delete(JUPYTER_NOTEBOOKS, namespace, "nb")
        await observed.gone(of_notebook)
        await cluster.create(JUPYTER_NOTEBOOKS, namespace, a_notebook(owner="ada"))
        await notebooks.wait_for((namespace, "nb"), says("Accepted", "True"), DEADLINE)
        second = await start("ada", notebook=reference)
        await observed.phase(second, "Running")
    await cluster.delete(JUPYTER_NOTEBOOKS, namespace, "nb")
    async with running(notebook=image):
        await observed.gone(second)
        await observed.pod(name_of(second), lambda pod: pod is None)
        await observed.phase(of_ada, "Running")


async def test_a_gateway_in_another_namespace_decides_whom_it_takes(
    cluster: Cluster, namespace: str, running: Any
) -> None:
    labs, stranger = f"{namespace}-labs", f"{namespace}-stranger"
    gateway = {"name": "shared", "namespace": namespace}
    body = a_notebook(gateway=gateway)
    for name in (labs, stranger):
        await cluster.create(NAMESPACES, None, {"metadata": {"name": name}})
    try:
        await cluster.create(JUPYTER_NOTEBOOKS, stranger, body)
        forged = {"status": {"gatewayTokenHash": notebook_tokens.token_hash("forged")}}
        await cluster.merge_patch(JUPYTER_NOTEBOOKS, stranger, "nb", forged, subresource="status")
        async with (
            running(
                extraNamespaces=[labs],
                notebook={"image": "elastic/none:none", "imagePullPolicy": "Never"},
            ),
            reflecting(cluster, JUPYTER_NOTEBOOKS, labs) as notebooks,
        ):
            await cluster.create(JUPYTER_NOTEBOOKS, labs, body)
            refused = says("GatewayAccepted", "False", "spec.notebookNamespaces")
            await notebooks.wait_for((labs, "nb"), refused, DEADLINE)
            allowed = {"spec": {"notebookNamespaces": ["*"]}}
            await cluster.merge_patch(JUPYTER_GATEWAYS, namespace, "shared", allowed)
            await notebooks.wait_for((labs, "nb"), says("GatewayAccepted", "True"), DEADLINE)
            shared = await cluster.get(JUPYTER_GATEWAYS, namespace, "shared")
            # Not even "*" lets in those whom the service doesn't look after.
            assert [entry["namespace"] for entry in status_of(shared)["notebooks"]] == [labs]
    finally:
        for name in (labs, stranger):
            await cluster.delete(NAMESPACES, None, name)

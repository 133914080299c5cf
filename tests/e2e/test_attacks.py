"""The quick attacks of `make attack`, and that tokens and keys are nowhere to be read."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
import pytest_asyncio

from demo.install import HUB_NAMESPACE, Images, Installation, kubectl
from hub_service.kube import Cluster
from hub_service.names import kernel_name
from tests.attack.bystander import Bystander, somebody_works
from tests.attack.case import Case
from tests.attack.stage import Stage, a_stage
from tests.attack.suite import CASES, run
from tests.e2e.support import House

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.one_mode]

QUICK = [case for case in CASES if case.quick and not case.needs_policies]
KINDS = ("jupyterkernels", "jupyterkernelspecs", "jupytergateways", "events", "configmaps")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(
    installation: Installation, images: Images
) -> AsyncIterator[tuple[Stage, Bystander]]:
    """Mallory in her pods, and ada at work."""
    async with AsyncExitStack() as stack:
        cluster = await stack.enter_async_context(Cluster.from_environment())
        house = House(installation, stack)
        mallory, ada = await house.open("mallory"), await house.open("ada")
        stage = await stack.enter_async_context(
            a_stage(installation, images, cluster, mallory, ada)
        )
        async with somebody_works(stage) as bystander:
            yield stage, bystander
        assert bystander.noticed == []


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.name)
async def test_an_attack_is_refused_and_its_twin_is_not(
    scene: tuple[Stage, Bystander], case: Case
) -> None:
    outcome = await run(case, *scene)
    assert outcome.as_it_ought, outcome


async def test_tokens_keys_and_cells_are_in_no_log_and_no_resource(
    scene: tuple[Stage, Bystander],
) -> None:
    stage, _ = scene
    cell = "a-text-that-stands-in-a-cell-only"
    await stage.mallory.run(stage.own, f"x = '{cell}'")
    secrets = {
        "a server's token": stage.token,
        "a program's token": await stage.mallory.api_token(),
        "a kernel's key": await stage.signing_key(stage.own),
        "a cell": cell,
    }
    texts = await _all_texts(stage)
    assert len(texts) > 10
    found = [
        (what, where)
        for what, secret in secrets.items()
        for where, text in texts.items()
        if secret in text
    ]
    assert found == []


async def _all_texts(stage: Stage) -> dict[str, str]:
    """Logs and resources, but for Secrets and the notebooks' own pods, whose tokens are in them."""

    def read(namespace: str, *words: str) -> str:
        return kubectl("-n", namespace, *words)

    def gather() -> dict[str, str]:
        texts = {}
        for namespace in (HUB_NAMESPACE, stage.namespace):
            for kind in KINDS:
                texts[f"{kind} of {namespace}"] = read(namespace, "get", kind, "-o", "yaml")
            pods = json.loads(read(namespace, "get", "pods", "-o", "json"))["items"]
            for pod in pods:
                name, labels = pod["metadata"]["name"], pod["metadata"]["labels"]
                if labels.get("component") != "singleuser-server":
                    texts[f"pod {name}"] = json.dumps(pod)
                if pod["status"]["phase"] == "Running":
                    logs = read(namespace, "logs", name, "--all-containers", "--tail=-1")
                    texts[f"log of {name}"] = logs
        assert f"pod {kernel_name(stage.own)}" in texts
        return texts

    return await asyncio.to_thread(gather)

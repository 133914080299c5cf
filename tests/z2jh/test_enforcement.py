"""Whether the network enforces policies, seen by trying; and what is closed if it does."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
import yaml

from demo.install import HUB_NAMESPACE, Images, Installation, KubectlError, kubectl
from hub_service.pods.podsecurity import hardened
from tests.e2e.support import House

PORT = 8080
SECONDS = 30.0
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 3)"
DENY_ALL = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "probe"},
    "spec": {"podSelector": {"matchLabels": {"run": "probed"}}, "policyTypes": ["Ingress"]},
}


def connects(namespace: str, pod: str, address: str, port: int) -> bool:
    """Whether a pod (with Python in it) reaches a port."""
    command = ["python3", "-c", CONNECT, address, str(port)]
    try:
        kubectl("-n", namespace, "exec", pod, "--", *command)
    except KubectlError:
        return False
    return True


@pytest.fixture
def probed(installation: Installation, images: Images) -> Iterator[str]:
    """The address of a pod that listens, beside one that tries."""
    here = ("-n", installation.namespace)
    for name, words in [
        ("probed", ["python3", "-m", "http.server", str(PORT)]),
        ("probing", ["sleep", "600"]),
    ]:
        # As the users' namespace wants it.
        restricted = {"spec": hardened({"containers": [{"name": name}]})}
        kubectl(
            *here, "run", name, f"--image={images.name('kernel')}", "--command",
            f"--image-pull-policy={images.pull_policy}",
            f"--overrides={json.dumps(restricted)}", "--override-type=strategic", "--", *words,
        )  # fmt: skip
    kubectl(*here, "wait", "--for=condition=Ready", "--timeout=60s", "pod/probed", "pod/probing")
    pod = json.loads(kubectl(*here, "get", "pod", "probed", "-o", "json"))
    yield pod["status"]["podIP"]
    kubectl(*here, "delete", "--ignore-not-found", "networkpolicy/probe")
    kubectl(*here, "delete", "--now", "pod/probed", "pod/probing")


async def test_what_is_closed_where_policies_are_enforced(
    installation: Installation, probed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace = installation.namespace
    await_open = time.monotonic() + SECONDS
    while not connects(namespace, "probing", probed, PORT):
        assert time.monotonic() < await_open, "the probe doesn't listen"
    kubectl("-n", namespace, "apply", "-f", "-", manifest=yaml.safe_dump(DENY_ALL))
    # Networks take a moment to act on a new policy.
    deadline = time.monotonic() + 10
    while (still_open := connects(namespace, "probing", probed, PORT)) and (
        time.monotonic() < deadline
    ):
        pass
    enforced = not still_open
    with capsys.disabled():
        print(f"\nnetwork policies are {'enforced' if enforced else 'NOT enforced'} here")
    if enforced:
        await _paths_are_closed(installation)


async def _paths_are_closed(installation: Installation) -> None:
    namespace = installation.namespace
    async with AsyncExitStack() as stack:
        ada = await House(installation, stack).open("ada")
        kernel = f"kernel-{await ada.start_kernel('python')}"
        for pod, address, port, is_open in [
            ("jupyter-ada", f"hub.{HUB_NAMESPACE}", 8081, True),
            ("jupyter-ada", "elastic-gateway", 8888, True),
            (kernel, f"hub.{HUB_NAMESPACE}", 8081, False),
            (kernel, "elastic-gateway", 8888, False),
            ("probing", f"hub.{HUB_NAMESPACE}", 8081, False),
            ("probing", "elastic-gateway", 8888, False),
        ]:
            assert connects(namespace, pod, address, port) is is_open, (pod, address, port)

"""What a person chooses at start: a size, by the launcher or by a variable, and packages."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import zipfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from demo.client import Person
from demo.install import Images, Installation, kubectl
from demo.observe import watching
from hub_service.kinds import (
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNELS,
    PODS,
    Object,
    Resource,
    status_of,
)
from hub_service.kube import Cluster
from hub_service.pods.podsecurity import hardened
from tests.e2e.support import House, attempt

CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
# A notebook server sends its own environment; other clients, such as papermill, what they like.
START = """
import json, os, sys, urllib.error, urllib.request
request = urllib.request.Request(
    os.environ["JUPYTER_GATEWAY_URL"] + "/api/kernels",
    json.dumps({"name": "choices", "env": json.loads(sys.argv[1])}).encode(),
    {"Authorization": "token " + os.environ["JUPYTERHUB_API_TOKEN"]},
)
try:
    print(urllib.request.urlopen(request).read().decode())
except urllib.error.HTTPError as error:
    print(error.read().decode())
"""
WHEEL = "tiny_greeting-1.0-py3-none-any.whl"


def wheel() -> bytes:
    """A package with one line of code."""
    about = "tiny_greeting-1.0.dist-info"
    files = {
        "tiny_greeting.py": "text = 'hello from a package'\n",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: tiny-greeting\nVersion: 1.0\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{about}/RECORD": "",
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


@asynccontextmanager
async def package_index(cluster: Cluster, namespace: str, images: Images) -> AsyncIterator[str]:
    """The address of a page with links to packages, served in the cluster."""
    name = "package-index"
    data = {WHEEL: base64.b64encode(wheel()).decode()}
    await cluster.create(CONFIG_MAPS, namespace, {"metadata": {"name": name}, "binaryData": data})
    container = {
        "name": "server",
        "image": images.name("kernel"),
        "imagePullPolicy": images.pull_policy,
        "command": ["python3", "-m", "http.server", "8000", "--directory", "/wheels"],
        "volumeMounts": [{"name": "wheels", "mountPath": "/wheels"}],
        "readinessProbe": {"httpGet": {"path": "/", "port": 8000}, "periodSeconds": 1},
    }
    spec = {
        "containers": [container],
        "volumes": [{"name": "wheels", "configMap": {"name": name}}],
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
    }
    await cluster.create(PODS, namespace, {"metadata": {"name": name}, "spec": hardened(spec)})
    try:
        async with watching(cluster, PODS, namespace) as pods:
            pod = await pods.wait_for((namespace, name), is_ready, 60)
        assert pod is not None
        yield f"http://{status_of(pod)['podIP']}:8000/"
    finally:
        await cluster.delete(PODS, namespace, name, grace_period=0)
        await cluster.delete(CONFIG_MAPS, namespace, name)


def is_ready(pod: Object | None) -> bool:
    conditions = status_of(pod or {}).get("conditions") or []
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def a_spec(images: Images, links: str, packages: str = "tiny-greeting==1.0") -> dict[str, Any]:
    sizes = [
        {"name": name, "displayName": name.title(), "resources": {"limits": {"memory": memory}}}
        for name, memory in (("small", "512Mi"), ("large", "1Gi"))
    ]
    return {
        "apiVersion": JUPYTER_KERNEL_SPECS.api_version,
        "kind": JUPYTER_KERNEL_SPECS.kind,
        "metadata": {"name": "choices"},
        "spec": {
            "displayName": "Choices",
            "image": images.name("kernel"),
            "parameters": [
                {
                    "name": "size",
                    "variable": "KERNEL_SIZE",
                    "default": "small",
                    "variants": True,
                    "sizes": sizes,
                },
                {
                    "name": "packages",
                    "variable": "KERNEL_PACKAGES",
                    "default": packages,
                    "packages": {"allowed": ["tiny-*"], "findLinks": links},
                },
            ],
        },
    }


async def until_listed(person: Person, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    async with asyncio.timeout(10):
        while True:
            specs: dict[str, Any] = (await person.kernelspecs())["kernelspecs"]
            if wanted(specs):
                return specs


async def test_sizes_and_packages_within_what_the_spec_allows(
    house: House, cluster: Cluster, installation: Installation, namespace: str, images: Images
) -> None:
    person = await house.open("ada")
    shared = installation.namespace  # of all specs

    async def refusal(**env: str) -> str:
        """What the gateway answers to a client that sends an environment of its own."""
        command = ("python3", "-c", START, json.dumps(env))
        where = ("-n", namespace, "exec", "jupyter-ada", "-c", "notebook", "--")
        answer = json.loads(await asyncio.to_thread(kubectl, *where, *command))
        print(answer["message"])
        return str(answer["message"])

    async with package_index(cluster, namespace, images) as links:
        await cluster.create(JUPYTER_KERNEL_SPECS, shared, a_spec(images, links))
        try:
            listed = await until_listed(person, lambda specs: "choices--size-large" in specs)
            assert listed["choices--size-large"]["spec"]["display_name"] == "Choices (Large)"
            assert "choices--size-small" not in listed

            kernel = await person.start_kernel("choices--size-large")
            code = "import tiny_greeting, numpy; print(tiny_greeting.text)"
            assert (await person.run(kernel, code)).text == "hello from a package\n"
            pod = await cluster.get(PODS, namespace, f"kernel-{kernel}")
            assert pod["spec"]["containers"][0]["resources"]["limits"]["memory"] == "1Gi"
            resource = await cluster.get(JUPYTER_KERNELS, namespace, f"kernel-{kernel}")
            chosen = {"KERNEL_SIZE": "large", "KERNEL_PACKAGES": "tiny-greeting==1.0"}
            assert resource["spec"]["parameters"] == chosen
            await person.shut_down(kernel)

            said = await refusal(KERNEL_SIZE="huge")
            assert said == (
                "Choices: Parameter size (KERNEL_SIZE='huge'): allowed are small, large."
            )
            assert "allowed packages are tiny-*" in await refusal(KERNEL_PACKAGES="requests")

            body = a_spec(images, links, packages="tiny-missing")
            body["spec"]["displayName"] = "Missing"
            await cluster.merge_patch(JUPYTER_KERNEL_SPECS, shared, "choices", body)
            await until_listed(
                person, lambda specs: specs["choices"]["spec"]["display_name"] == "Missing"
            )
            told = await attempt(person, "choices")
            assert "No matching distribution found for tiny-missing" in told.text
        finally:
            await cluster.delete(JUPYTER_KERNEL_SPECS, shared, "choices")

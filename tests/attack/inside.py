"""Attacks from inside pods: on the cluster, on the node, on kernels' ports, on what pods may be."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any

from demo.install import KubectlError, kubectl
from hub_service.kinds import (
    ADMITTED,
    JUPYTER_KERNELS,
    NOT_ALLOWED,
    PODS,
    TEMPLATE_ACCEPTED,
    Object,
    condition,
    status_of,
)
from hub_service.kube import ApiError
from hub_service.names import kernel_name
from tests.attack.case import (
    ADMISSION,
    API_SERVER,
    CONTAINER,
    ENCRYPTION,
    KERNEL,
    NETWORK,
    NOTHING,
    SERVICE,
    Answer,
    Case,
    Step,
    answer,
)
from tests.attack.stage import ENCRYPTED, Stage

_SECONDS = 30.0
_PRINTS = """
import time
for _ in range(60):
    print("printed", flush=True)
    time.sleep(0.05)
"""
_SECRETS = "/api/v1/namespaces/jupyter-users/secrets"
_HUBS_SECRETS = "/api/v1/namespaces/jupyter/secrets"
_KERNELS = "/apis/kubeflow.tkestack.io/v1alpha1/namespaces/jupyter-users/jupyterkernels"


def api(place: str, method: str, path: str, body: Any = None) -> Step:
    """A request to the API server from one of the pods, with the credentials that are there."""

    async def step(stage: Stage) -> Answer:
        pod = getattr(stage, place)
        text = None if body is None else json.dumps(body)
        filled = path.replace("<victim>", kernel_name(stage.victim))
        return answer(await pod.run("cluster", method=method, path=filled, body=text))

    return step


def _as_service(verb: str, what: str, namespace: str, allowed: bool = False) -> Step:
    """Whether the hub's ServiceAccount may: asked of the API server as that account."""
    account = "system:serviceaccount:jupyter:hub"

    async def step(_: Stage) -> Answer:
        try:
            said = await asyncio.to_thread(
                kubectl, "auth", "can-i", verb, what, "-n", namespace, f"--as={account}"
            )
        except KubectlError as error:  # kubectl's exit status says no
            said = str(error)
        yes = said.strip() == "yes"
        return Answer("yes" if yes else "no", NOTHING if yes else API_SERVER)

    return step


async def _no_token(stage: Stage) -> Answer:
    """Neither notebook nor kernel has credentials for the cluster."""
    replies = [
        await pod.run("cluster", method="GET", path="/version")
        for pod in (stage.notebook, stage.kernel)
    ]
    found = [reply["has_token"] for reply in replies]
    return Answer("a token" if any(found) else "no token", NOTHING if any(found) else CONTAINER)


async def _gateway_has_token(stage: Stage) -> Answer:
    reply = await stage.gateway.run("cluster", method="GET", path="/version")
    return Answer(reply["status"], NOTHING if reply["has_token"] else CONTAINER)


def _powers(place: str) -> Step:
    """Become root, make devices, change the system: tried, and as the node's kernel has it."""

    async def step(stage: Stage) -> Answer:
        found = await getattr(stage, place).run("powers")
        weak = (
            found["uid"] != 0
            and found["no_new_privileges"]
            and found["capabilities"] == 0
            and found["seccomp"] == "2"
            and "done" not in found["tried"].values()
        )
        return Answer("powerless" if weak else "powers", CONTAINER if weak else NOTHING, str(found))

    return step


async def _runs_as_a_user(stage: Stage) -> Answer:
    found = await stage.kernel.run("powers")
    return Answer(f"uid {found['uid']}", NOTHING if found["uid"] == 1000 else CONTAINER)


def _directly(kernel: str, key: str | None) -> Step:
    """A cell sent to a kernel's port from mallory's notebook; key: of whose kernel, if any."""

    async def step(stage: Stage) -> Answer:
        signing = await stage.signing_key(getattr(stage, key)) if key else ""
        reply = await stage.notebook.run(
            "execute_directly",
            address=stage.addresses[kernel],
            key=signing,
            code="secret = 0",
        )
        if reply["answered"]:
            return Answer("answered")
        there = await stage.notebook.run("connects", address=stage.addresses[kernel], port=52317)
        return Answer("no answer", KERNEL if there["connected"] else NETWORK)

    return step


def _listening(kernel: str) -> Step:
    """What a kernel publishes, heard by a stranger."""

    async def step(stage: Stage) -> Answer:
        reply = await stage.notebook.run("listen", address=stage.addresses[kernel])
        return Answer("heard") if reply["heard"] else Answer("silence", NETWORK)

    return step


async def _listening_to_encrypted(stage: Stage) -> Answer:
    """The same with a kernel whose spec encrypts, and with a cell that prints."""
    kernel = await stage.ada.start_kernel(ENCRYPTED)
    try:
        pod = await stage.cluster.get(PODS, stage.namespace, kernel_name(kernel))
        async with stage.ada.connect(kernel) as connection:
            cell = await connection.submit(_PRINTS)
            reply = await stage.notebook.run("listen", address=status_of(pod)["podIP"])
            heard = await connection.result(cell, timeout=_SECONDS)
    finally:
        await stage.ada.shut_down(kernel)
    if reply["heard"] or "printed" not in heard.text:
        return Answer("heard", text=heard.text[:100])
    return Answer("silence", ENCRYPTION)


async def _encrypted_runs(stage: Stage) -> Answer:
    """A cell in it, through the gateway, before and after a restart."""
    kernel = await stage.mallory.start_kernel(ENCRYPTED)
    try:
        before = (await stage.mallory.run(kernel, "print(1)")).text
        await stage.mallory.restart(kernel)
        after = (await stage.mallory.run(kernel, "print(2)")).text
    finally:
        await stage.mallory.shut_down(kernel)
    ran = (before, after) == ("1\n", "2\n")
    return Answer(200) if ran else Answer(f"{before}, {after}", KERNEL)


def _variables_of_kernel(own: bool) -> Step:
    """Tokens and keys among a kernel's variables."""

    async def step(stage: Stage) -> Answer:
        variables = await stage.kernel.run("environment")
        key = await stage.signing_key(stage.own)
        secrets = {stage.token, key}
        found = [name for name, value in variables.items() if value in secrets or "TOKEN" in name]
        if own:
            return Answer(variables["KERNEL_USERNAME"])
        return Answer("found" if found else "none", NOTHING if found else CONTAINER, str(found))

    return step


def _asks_for(pod_spec: Object, container: Object | None = None, **spec: Any) -> Step:
    """A JupyterKernel by somebody who may write them, with that in its template."""

    async def step(stage: Stage) -> Answer:
        kernel_id = str(uuid.uuid4())
        name = kernel_name(kernel_id)
        main = {
            "name": "kernel",
            "image": stage.images.name("kernel"),
            "command": ["sleep", "600"],
            **(container or {}),
        }
        filled = json.loads(
            json.dumps({"containers": [main], **pod_spec}).replace(
                "<victim>", kernel_name(stage.victim)
            )
        )
        body = {
            "apiVersion": JUPYTER_KERNELS.api_version,
            "kind": JUPYTER_KERNELS.kind,
            "metadata": {"name": name},
            "spec": {
                "owner": f"attacker-{kernel_id[:8]}",
                "kernelID": kernel_id,
                "kernelSpecName": "attacked",
                "template": {"spec": filled},
                **stage.filled(
                    {k: v.replace("<victim>", f"kernel-{stage.victim}") for k, v in spec.items()}
                ),
            },
        }
        await stage.cluster.create(JUPYTER_KERNELS, stage.namespace, body)
        try:
            return _judged(await _decided(stage, name))
        finally:
            await stage.cluster.delete(JUPYTER_KERNELS, stage.namespace, name)

    return step


def _judged(item: Object) -> Answer:
    template = condition(item, TEMPLATE_ACCEPTED) or {}
    if template.get("reason") in NOT_ALLOWED:
        return Answer(template["reason"], SERVICE, template["message"])
    return Answer("admitted" if (condition(item, ADMITTED) or {}).get("status") == "True" else "?")


async def _decided(stage: Stage, name: str) -> Object:
    async with asyncio.timeout(_SECONDS):
        while True:
            item = await stage.cluster.get(JUPYTER_KERNELS, stage.namespace, name)
            if condition(item, ADMITTED):
                return item
            await asyncio.sleep(0.05)


def _pod(pod_spec: Object) -> Step:
    """A pod past the service, by somebody who may make pods in the users' namespace."""

    async def step(stage: Stage) -> Answer:
        main = {
            "name": "main",
            "image": stage.images.name("kernel"),
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "runAsNonRoot": True,
                "capabilities": {"drop": ["ALL"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
        }
        body = {"metadata": {"generateName": "attack-"}, "spec": {"containers": [main], **pod_spec}}
        try:
            await stage.cluster.create(PODS, stage.namespace, body, dry_run=True)
        except ApiError as error:
            refused = ADMISSION if "violates PodSecurity" in error.message else API_SERVER
            return Answer(error.status, refused, error.message)
        return Answer(201)

    return step


def _template(name: str, pod_spec: Object, container: Object | None = None, **spec: Any) -> Case:
    return Case(name, _asks_for(pod_spec, container, **spec), _asks_for({}), SERVICE)


_VERSION = api("notebook", "GET", "/version")
_OWN_KERNELS = api("gateway", "GET", _KERNELS)
_ROOT = {"volumes": [{"name": "root", "hostPath": {"path": "/"}}]}
_VICTIMS_KEY = {"volumes": [{"name": "key", "secret": {"secretName": "<victim>"}}]}

CASES = [
    Case("credentials of the cluster in notebook and kernel", _no_token, _gateway_has_token,
         CONTAINER),
    Case("list Secrets from the notebook", api("notebook", "GET", _SECRETS), _VERSION, API_SERVER),
    Case("read a foreign key from the notebook", api("notebook", "GET", f"{_SECRETS}/<victim>"),
         _VERSION, API_SERVER),
    Case("read a foreign key from a kernel", api("kernel", "GET", f"{_SECRETS}/<victim>"),
         api("kernel", "GET", "/version"), API_SERVER),
    Case("list others' JupyterKernels from a kernel", api("kernel", "GET", _KERNELS),
         api("kernel", "GET", "/version"), API_SERVER),
    Case("make a JupyterKernel from the notebook", api("notebook", "POST", _KERNELS, {}), _VERSION,
         API_SERVER),
    Case("list Secrets from the gateway", api("gateway", "GET", _SECRETS), _OWN_KERNELS,
         API_SERVER),
    Case("read the hub's Secrets from the gateway", api("gateway", "GET", f"{_HUBS_SECRETS}/hub"),
         _OWN_KERNELS, API_SERVER),
    Case("list pods from the gateway",
         api("gateway", "GET", "/api/v1/namespaces/jupyter-users/pods"), _OWN_KERNELS, API_SERVER),
    Case("make a pod from the gateway",
         api("gateway", "POST", "/api/v1/namespaces/jupyter-users/pods", {}), _OWN_KERNELS,
         API_SERVER),
    Case("the hub's account: Secrets of the system", _as_service("get", "secrets", "kube-system"),
         _as_service("list", "pods", "jupyter-users"), API_SERVER),
    Case("the hub's account: a role of its choice",
         _as_service("create", "clusterrolebindings", "default"),
         _as_service("list", "nodes", "default"), API_SERVER),
    Case("a kernel's powers over its node", _powers("kernel"), _runs_as_a_user, CONTAINER),
    Case("a notebook's powers over its node", _powers("notebook"), _runs_as_a_user, CONTAINER),
    Case("tokens and keys among a kernel's variables", _variables_of_kernel(False),
         _variables_of_kernel(True), CONTAINER),
    Case("ZeroMQ to another's kernel without a key", _directly("victim", None),
         _directly("own", "own"), KERNEL),
    Case("ZeroMQ to another's kernel with one's own key", _directly("victim", "own"),
         _directly("own", "own"), KERNEL),
    Case("listen to what another's kernel publishes", _listening("victim"), _listening("victim"),
         NETWORK, needs_policies=True),
    Case("listen to what another's encrypted kernel publishes", _listening_to_encrypted,
         _encrypted_runs, ENCRYPTION, quick=False),
    _template("a template with a folder of the node", _ROOT),
    _template("a template in the node's network", {"hostNetwork": True}),
    _template("a template that sees the node's processes", {"hostPID": True}),
    _template("a privileged container", {}, {"securityContext": {"privileged": True}}),
    _template("a container that runs as root", {}, {"securityContext": {"runAsUser": 0}}),
    _template("a container with capabilities", {},
              {"securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}}),
    _template("a container on the node's port", {},
              {"ports": [{"containerPort": 80, "hostPort": 80}]}),
    _template("another ServiceAccount", {"serviceAccountName": "elastic-gateway"}),
    _template("a token for the cluster by a volume",
              {"volumes": [{"name": "t", "projected": {"sources": [
                  {"serviceAccountToken": {"path": "token"}}]}}]}),
    _template("another kernel's key as a volume", _VICTIMS_KEY),
    _template("another kernel's key as variables", {},
              {"envFrom": [{"secretRef": {"name": "<victim>"}}]}),
    _template("another's Secret as the kernel's own", {}, connectionSecret="<victim>"),
    Case("a pod with a folder of the node, past the service", _pod(_ROOT), _pod({}), ADMISSION),
    Case("a pod in the node's network, past the service", _pod({"hostNetwork": True}), _pod({}),
         ADMISSION),
]  # fmt: skip

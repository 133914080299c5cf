"""Puts the demo's hub on a cluster, and takes it away again, by kubectl.

The end-to-end tests install the same manifests with settings of their own.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import shutil
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from string import Template
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
MANIFESTS = Path(__file__).parent / "manifests"
HUB_NAMESPACE = "jupyter"
# On the hub's namespace: this hub is the demo's, and may be replaced and removed by it.
DEMO_LABEL = "elastic-kernels/demo"
_USER_NAMESPACES = ROOT / "helm-values" / "rbac-user-namespaces.yaml"
_ROLLOUT_TIMEOUT = "180s"


class KubectlError(RuntimeError):
    """kubectl said no; the message is what it printed."""


@dataclass(frozen=True)
class Images:
    """Where the cluster finds the project's images."""

    registry: str = "elastic"
    tag: str = "dev"
    pull_policy: str = "IfNotPresent"

    def name(self, image: str) -> str:
        """The full name of one of images/*."""
        return f"{self.registry}/{image}:{self.tag}"


@dataclass(frozen=True)
class Installation:
    """A hub that answers."""

    url: str
    password: str = field(repr=False)
    namespace: str


def kubectl(*arguments: str, manifest: str | None = None) -> str:
    """Run kubectl against the cluster of KUBECONFIG; returns what it printed.

    Raises KubectlError.
    """
    program = os.environ.get("KUBECTL") or shutil.which("kubectl")
    if program is None:
        raise KubectlError("kubectl is missing: `make cluster` brings one, or set KUBECTL")
    done = subprocess.run(
        [program, *arguments], input=manifest, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise KubectlError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def settings_of_values(images: Images, overrides: Mapping[str, Any] | None = None) -> Any:
    """`custom.elastic` of helm-values/elastic.yaml with our images, and overrides by section."""
    values = yaml.safe_load((ROOT / "helm-values" / "elastic.yaml").read_text())
    settings = values["custom"]["elastic"]
    settings["gateway"] |= {
        "image": images.name("gateway"),
        "imagePullPolicy": images.pull_policy,
    }
    for section, keys in (overrides or {}).items():
        present = settings.get(section, {})
        settings[section] = {**present, **keys} if isinstance(keys, Mapping) else keys
    return settings


def install(
    images: Images,
    overrides: Mapping[str, Any] | None = None,
    *,
    extra_config: str = "",
    restart: bool = False,
) -> Installation:
    """Apply everything and wait until the hub and the shared gateway answer. Idempotent.

    overrides: settings in place of those in helm-values/elastic.yaml, by section; what is no
    mapping as a whole.
    extra_config: Python that the hub's configuration ends with.
    restart: replace hub and gateway even where their manifests did not change (new images under
    an old name).
    """
    settings = settings_of_values(images, overrides)
    apply_kinds()
    if settings.get("userNamespaces", {}).get("enabled"):
        kubectl("apply", "-f", str(_USER_NAMESPACES))
    metadata = {"name": HUB_NAMESPACE, "labels": {DEMO_LABEL: "true"}}
    _apply([{"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}])
    password = _hub_secret()
    demo = {"notebookImage": images.name("notebook"), "pullPolicy": images.pull_policy}
    config = {
        "jupyterhub_config.py": (MANIFESTS / "jupyterhub_config.py").read_text() + extra_config,
        "settings.yaml": yaml.safe_dump(settings),
        "demo.yaml": yaml.safe_dump(demo),
    }
    _apply([_config_map(config)])
    variables = {
        "HUB_IMAGE": images.name("hub"),
        "PROXY_IMAGE": images.name("proxy"),
        "PULL_POLICY": images.pull_policy,
    }
    apply_kernels(images)
    hub = _rendered("hub.yaml", variables)
    _mark_with(hub, _digest(config))
    _apply(hub)
    if restart:
        kubectl("-n", HUB_NAMESPACE, "rollout", "restart", "deployment/hub")
    for deployment in ("proxy", "hub"):
        _wait_for_rollout(HUB_NAMESPACE, deployment)
    wait_for_gateway(settings, restart=restart)
    return Installation(public_url(), password, settings["namespace"])


def apply_kinds() -> None:
    """The five kinds, and what hub, service and gateways may do."""
    kubectl("apply", "-f", str(ROOT / "crds"), "-f", str(ROOT / "helm-values" / "rbac.yaml"))
    kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))


def apply_kernels(images: Images) -> None:
    """The kernels that people choose from."""
    names = {"KERNEL_IMAGE": images.name("kernel"), "R_KERNEL_IMAGE": images.name("kernel-r")}
    _apply(_rendered("kernels.yaml", names))


def wait_for_gateway(settings: Mapping[str, Any], *, restart: bool = False) -> None:
    """Until the shared gateway, which the hub's service makes, answers; users' have no wait."""
    if settings["gateway"].get("mode") == "per-user":
        return
    namespace, gateway = settings["namespace"], settings["gateway"].get("name", "elastic-gateway")
    kubectl("-n", namespace, "wait", "--for=create", "--timeout=60s", f"deployment/{gateway}")
    if restart:
        kubectl("-n", namespace, "rollout", "restart", f"deployment/{gateway}")
    _wait_for_rollout(namespace, gateway)


def uninstall() -> None:
    """Remove the hub, its users' namespace and the kinds."""
    kubectl("delete", "--ignore-not-found", "namespace", HUB_NAMESPACE)
    kubectl("delete", "--ignore-not-found", "-f", str(_USER_NAMESPACES))
    kubectl("delete", "--ignore-not-found", "-f", str(ROOT / "helm-values" / "rbac.yaml"))
    kubectl("delete", "--ignore-not-found", "-f", str(ROOT / "crds"))


def _hub_secret() -> str:
    """The demo's password, made up the first time."""
    existing = kubectl(
        "-n", HUB_NAMESPACE, "get", "secret", "hub", "--ignore-not-found", "-o", "json"
    )
    if existing.strip():
        return base64.b64decode(json.loads(existing)["data"]["password"]).decode()
    password = secrets.token_urlsafe(12)
    data = {"password": password, "proxyToken": secrets.token_hex(32)}
    _apply(
        [
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "hub", "namespace": HUB_NAMESPACE},
                "stringData": data,
            }
        ]
    )
    return password


def _config_map(data: Mapping[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "hub", "namespace": HUB_NAMESPACE},
        "data": dict(data),
    }


def _rendered(name: str, variables: Mapping[str, str]) -> list[dict[str, Any]]:
    text = Template((MANIFESTS / name).read_text()).substitute(variables)
    return [document for document in yaml.safe_load_all(text) if document]


def _mark_with(objects: list[dict[str, Any]], digest: str) -> None:
    """Let the hub's pod be replaced when its configuration changed."""
    for item in objects:
        if item["kind"] == "Deployment" and item["metadata"]["name"] == "hub":
            item["spec"]["template"]["metadata"]["annotations"] = {"elastic/config": digest}


def _digest(config: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:16]


def _apply(objects: list[dict[str, Any]]) -> None:
    kubectl("apply", "-f", "-", manifest=yaml.safe_dump_all(objects))


def _wait_for_rollout(namespace: str, deployment: str) -> None:
    try:
        kubectl(
            "-n",
            namespace,
            "rollout",
            "status",
            f"deployment/{deployment}",
            f"--timeout={_ROLLOUT_TIMEOUT}",
        )
    except KubectlError as error:
        pods = kubectl("-n", namespace, "get", "pods", "-o", "wide")
        logs = kubectl("-n", namespace, "logs", f"deployment/{deployment}", "--tail=30")
        raise KubectlError(f"{error}\n{pods}\n{logs}") from None


def public_url() -> str:
    """Where the hub is reached from here: HUB_URL if that is set, else the node's port."""
    if given := os.environ.get("HUB_URL"):
        return given.rstrip("/")
    nodes = json.loads(kubectl("get", "nodes", "-o", "json"))["items"]
    addresses = nodes[0]["status"]["addresses"]
    address = next(a["address"] for a in addresses if a["type"] == "InternalIP")
    service = json.loads(
        kubectl("-n", HUB_NAMESPACE, "get", "service", "proxy-public", "-o", "json")
    )
    port = service["spec"]["ports"][0]["nodePort"]
    try:
        socket.create_connection((address, port), timeout=10).close()
    except OSError as error:
        raise KubectlError(
            f"the hub runs, but the node's port {address}:{port} is not reached from here "
            f"({error}). Forward one, and say so: kubectl -n {HUB_NAMESPACE} port-forward "
            "service/proxy-public 8000:80 & export HUB_URL=http://127.0.0.1:8000"
        ) from error
    return f"http://{address}:{port}"

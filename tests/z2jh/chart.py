"""The Zero to JupyterHub chart that Z2JH_CHART names, installed with this project's values.

`install` takes and gives what `demo.install.install` does, so that the same tests run on both.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from demo.install import (
    HUB_NAMESPACE,
    ROOT,
    Images,
    Installation,
    apply_kernels,
    apply_kinds,
    kubectl,
    public_url,
    settings_of_values,
    wait_for_gateway,
)
from tests.z2jh.helm import HelmError, helm

RELEASE = "jupyterhub"
VALUES = ROOT / "helm-values"
NO_REGISTRY = Path(__file__).parent / "no-registry.yaml"
VARIABLE = "Z2JH_CHART"


@dataclass(frozen=True)
class Chart:
    """A chart that Helm can read."""

    reference: Sequence[str | Path]  # as words on Helm's command line
    version: str
    hub_version: str

    def __str__(self) -> str:
        return f"chart version {self.version}, made for JupyterHub {self.hub_version}"


@contextlib.contextmanager
def chart() -> Iterator[Chart]:
    """The chart of Z2JH_CHART: a folder (a checkout will do) or a reference that Helm knows.

    Of a reference, Z2JH_CHART_VERSION picks the version.
    """
    named = os.environ[VARIABLE]
    with tempfile.TemporaryDirectory() as folder:
        reference: list[str | Path] = [named]
        if Path(named).is_dir():
            reference = [_copy_with_schema(Path(named), Path(folder) / "chart")]
        elif version := os.environ.get("Z2JH_CHART_VERSION"):
            reference = [named, "--version", version]
        about = yaml.safe_load(helm("show", "chart", *reference))
        version = about["version"]
        if Path(named).is_dir():
            version += _revision(Path(named))
        yield Chart(reference, version, about["appVersion"])


def render(chart: Chart, values: Sequence[Path]) -> list[dict[str, Any]]:
    """The manifests that the chart makes of values, which its schema has accepted.

    Raises HelmError naming each value that the schema doesn't allow.
    """
    options = [word for file in values for word in ("--values", file)]
    text = helm(
        "template", RELEASE, *chart.reference, "--namespace", HUB_NAMESPACE,
        "--kube-version", "1.34.0", *options,
    )  # fmt: skip
    return [document for document in yaml.safe_load_all(text) if document]


def install(
    images: Images,
    overrides: Mapping[str, Any] | None = None,
    *,
    extra_config: str = "",
    restart: bool = False,
    more_values: Sequence[Path] = (),
) -> Installation:
    """Install or upgrade the chart, and wait until the hub and the shared gateway answer.

    The parameters are those of `demo.install.install`; and files of values between elastic.yaml
    and what the test adds.
    """
    settings = settings_of_values(images, overrides)
    password = _password()
    apply_kinds()
    if settings.get("userNamespaces", {}).get("enabled"):
        kubectl("apply", "-f", str(VALUES / "rbac-user-namespaces.yaml"))
    kubectl("apply", "-f", str(VALUES / "network-policies.yaml"))
    apply_kernels(images)
    with chart() as found, tempfile.TemporaryDirectory() as folder:
        values = Path(folder) / "values.json"
        values.write_text(json.dumps(_values(images, overrides or {}, password, extra_config)))
        files = [VALUES / "elastic.yaml", *more_values, *_values_of_the_cluster(), values]
        options = [word for file in files for word in ("--values", file)]
        try:
            helm(
                "upgrade", "--install", RELEASE, *found.reference, "--namespace", HUB_NAMESPACE,
                "--create-namespace", "--wait", "--timeout", "5m", *options,
            )  # fmt: skip
        except HelmError as error:
            raise HelmError(f"{error}\n{_state_of_the_hub()}") from None
    if restart:
        kubectl("-n", HUB_NAMESPACE, "rollout", "restart", "deployment/hub")
        kubectl("-n", HUB_NAMESPACE, "rollout", "status", "deployment/hub", "--timeout=180s")
    wait_for_gateway(settings, restart=restart)
    return Installation(public_url(), password, settings["namespace"])


def roll_back() -> None:
    """Back to the release before, as docs/upgrade.md says; returns when the hub answers."""
    helm("rollback", RELEASE, "--namespace", HUB_NAMESPACE, "--wait", "--timeout", "5m")


def uninstall() -> None:
    """Remove the chart's release, where there is one."""
    releases = ["get", "secret", "-l", f"owner=helm,name={RELEASE}", "-o", "name"]
    if kubectl("-n", HUB_NAMESPACE, *releases).strip():
        helm("uninstall", RELEASE, "--namespace", HUB_NAMESPACE, "--wait")


def _values(
    images: Images, overrides: Mapping[str, Any], password: str, extra_config: str
) -> dict[str, Any]:
    """What a test adds to elastic.yaml: where its images are, and who may log in."""
    config = {
        "DummyAuthenticator": {"password": password},
        "Authenticator": {"admin_users": ["admin"], "allow_all": True},
    }
    gateway = {"image": images.name("gateway"), "imagePullPolicy": images.pull_policy}
    settings = {**overrides, "gateway": {**gateway, **overrides.get("gateway", {})}}
    return {
        "custom": {"elastic": settings},
        "hub": {
            "image": _image(images, "hub"),
            "config": config,
            "allowNamedServers": True,
            # A loaded machine takes longer than the hub waits by default.
            "extraConfig": {"tests": "c.KubeSpawner.http_timeout = 120\n" + extra_config},
        },
        "singleuser": {
            "image": _image(images, "notebook"),
            "defaultUrl": "/lab",
            "storage": {"dynamic": {"pvcNameTemplate": "home-{user_server}"}},
        },
        "prePuller": {
            "extraImages": {
                "elastic-gateway": _image(images, "gateway"),
                "elastic-kernel": _image(images, "kernel"),
            }
        },
    }


def _image(images: Images, name: str) -> dict[str, str]:
    full, _, tag = images.name(name).rpartition(":")
    return {"name": full, "tag": tag, "pullPolicy": images.pull_policy}


def _values_of_the_cluster() -> list[Path]:
    """Values for where the test runs: Z2JH_VALUES, a file; by default, no registry is assumed."""
    named = os.environ.get("Z2JH_VALUES", str(NO_REGISTRY))
    return [] if named == "none" else [Path(named)]


def _password() -> str:
    """The one of the release that is there, if there is one, else a new one."""
    with contextlib.suppress(HelmError):
        values = yaml.safe_load(helm("get", "values", RELEASE, "--namespace", HUB_NAMESPACE))
        return str(values["hub"]["config"]["DummyAuthenticator"]["password"])
    return secrets.token_urlsafe(12)


def _copy_with_schema(source: Path, target: Path) -> Path:
    """A checkout lacks values.schema.json, which its release is made with from the YAML."""
    shutil.copytree(source, target)
    schema = target / "values.schema.json"
    if not schema.exists():
        schema.write_text(json.dumps(yaml.safe_load((target / "values.schema.yaml").read_text())))
    return target


def _revision(folder: Path) -> str:
    """The commit of a checkout, as its version says nothing."""
    command = ["git", "-C", str(folder), "describe", "--tags", "--always"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode else f" (commit {done.stdout.strip()})"


def _state_of_the_hub() -> str:
    pods = kubectl("-n", HUB_NAMESPACE, "get", "pods", "-o", "wide")
    return pods + kubectl("-n", HUB_NAMESPACE, "logs", "deployment/hub", "--tail=60")

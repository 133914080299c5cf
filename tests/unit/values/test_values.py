"""Every values file: its settings are ours, and what belongs together says the same."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from elastic_spawner import ElasticSpawner
from elastic_spawner.gateway.kernel_resource import PORTS
from hub_service import kinds
from hub_service.settings import parse

ROOT = Path(__file__).parents[3]
VALUES = ROOT / "helm-values"
MORE = sorted(
    file
    for file in VALUES.glob("*.yaml")
    if file.name != "elastic.yaml" and "apiVersion:" not in file.read_text()
)


def load(file: Path) -> Any:
    return yaml.safe_load(file.read_text())


def merged(low: Any, high: Any) -> Any:
    """As Helm merges values: mappings by key, anything else replaced."""
    if not (isinstance(low, dict) and isinstance(high, dict)):
        return high
    return {**low, **{key: merged(low.get(key), value) for key, value in high.items()}}


def elastic() -> dict[str, Any]:
    values: dict[str, Any] = load(VALUES / "elastic.yaml")
    return values


@pytest.mark.parametrize("file", MORE, ids=lambda file: file.stem)
def test_settings_are_accepted_on_top_of_the_first_file(file: Path) -> None:
    values = merged(elastic(), load(file))

    parse(values["custom"]["elastic"])


@pytest.mark.parametrize("file", [None, *MORE], ids=lambda file: file.stem if file else "elastic")
def test_a_server_ends_no_sooner_than_its_kernels(file: Path | None) -> None:
    """They would end with it, and nobody would be told before."""
    values = merged(elastic(), load(file)) if file else elastic()
    culling = parse(values["custom"]["elastic"]).culling

    assert values["cull"]["enabled"]
    assert values["cull"]["timeout"] >= culling.idle_timeout


def test_the_first_file_is_whole_by_itself() -> None:
    values = elastic()
    settings = parse(values["custom"]["elastic"])

    (port,) = values["hub"]["service"]["extraPorts"]
    assert port["port"] == port["targetPort"] == settings.service.port
    compile(values["hub"]["extraConfig"]["elastic"], "extraConfig", "exec")
    pulled = values["prePuller"]["extraImages"]["elastic-gateway"]
    assert f"{pulled['name']}:{pulled['tag']}" == settings.gateway.image
    rules = values["hub"]["networkPolicy"]["ingress"]
    open_ports = {entry["port"] for rule in rules for entry in rule["ports"]}
    assert open_ports == {8081, settings.service.port}
    assert f"kubernetes.io/metadata.name': '{settings.namespace}'" in str(rules)


@pytest.mark.parametrize("file", MORE, ids=lambda file: file.stem)
def test_profiles_set_what_the_spawner_has(file: Path) -> None:
    profiles = (load(file).get("singleuser") or {}).get("profileList") or []

    for profile in profiles:
        for name in profile.get("kubespawner_override") or {}:
            assert ElasticSpawner.class_traits().get(name) is not None, name


@pytest.mark.parametrize("file", MORE, ids=lambda file: file.stem)
def test_kernels_that_are_named_are_described(file: Path) -> None:
    values = load(file)
    named = set(
        (values.get("custom") or {}).get("elastic", {}).get("gateway", {}).get("kernels", [])
    )
    for profile in (values.get("singleuser") or {}).get("profileList") or []:
        named |= set(profile["kubespawner_override"].get("gateway_kernels") or [])
    if not named:
        return
    kernels = yaml.safe_load_all((ROOT / "examples" / "kernels" / file.name).read_text())

    described = {k["metadata"]["name"] for k in kernels if k["kind"] == "JupyterKernelSpec"}

    assert named <= described


def test_policies_know_the_ports_and_labels_of_the_code() -> None:
    policies = {
        policy["metadata"]["name"]: policy["spec"]
        for policy in yaml.safe_load_all((VALUES / "network-policies.yaml").read_text())
    }

    (kernels,) = policies["elastic-kernels"]["ingress"]
    assert kernels["ports"] == [{"port": min(PORTS.values()), "endPort": max(PORTS.values())}]
    (gateways,) = policies["elastic-gateways"]["ingress"]
    assert gateways["ports"] == [{"port": kinds.GATEWAY_PORT}]
    for name, component in [
        ("elastic-kernels", kinds.COMPONENT_KERNEL),
        ("elastic-gateways", kinds.COMPONENT_GATEWAY),
    ]:
        assert policies[name]["podSelector"]["matchLabels"] == {kinds.LABEL_COMPONENT: component}


class Course:
    """A course's repository, a student's home, and the hook between them."""

    def __init__(self, folder: Path) -> None:
        self.repository, self.home = folder / "course.git", folder / "home"
        self.home.mkdir()
        self._teacher = folder / "teacher"
        self._git("init", "--quiet", "--bare", "--initial-branch=main", str(self.repository))
        self._git("clone", "--quiet", str(self.repository), str(self._teacher))
        self._git("-C", str(self._teacher), "checkout", "--quiet", "-B", "main")

    def publish(self, name: str, text: str) -> None:
        (self._teacher / name).write_text(text)
        self._git("-C", str(self._teacher), "add", "--all")
        self._git("-C", str(self._teacher), "commit", "--quiet", "-m", name)
        self._git("-C", str(self._teacher), "push", "--quiet", "origin", "main")

    def start(self) -> int:
        hooks = load(VALUES / "class.yaml")["singleuser"]["lifecycleHooks"]
        environment = self._environment | {"COURSE_REPOSITORY": str(self.repository)}
        command = hooks["postStart"]["exec"]["command"]
        return subprocess.run(command, check=False, env=environment).returncode

    def read(self, name: str) -> str:
        return (self.home / "course" / name).read_text()

    def _git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], env=self._environment, check=True, capture_output=True)

    @property
    def _environment(self) -> dict[str, str]:
        me = {"GIT_AUTHOR_NAME": "t", "GIT_AUTHOR_EMAIL": "t@localhost"}
        me |= {"GIT_COMMITTER_NAME": "t", "GIT_COMMITTER_EMAIL": "t@localhost"}
        return {"PATH": os.environ["PATH"], "HOME": str(self.home), **me}


def test_the_classes_hook_brings_new_material_and_keeps_work(tmp_path: Path) -> None:
    course = Course(tmp_path)
    course.publish("one.md", "task\nanswer:\n")
    assert course.start() == 0
    assert course.read("one.md") == "task\nanswer:\n"

    (course.home / "course" / "one.md").write_text("task\nanswer: 42\n")
    (course.home / "course" / "notes.md").write_text("mine\n")
    course.publish("one.md", "task\nanswer: here\n")
    course.publish("two.md", "next\n")
    assert course.start() == 0

    assert course.read("one.md") == "task\nanswer: 42\n"
    assert course.read("two.md") == "next\n"
    assert course.read("notes.md") == "mine\n"
    assert course.start() == 0


def test_a_course_that_is_not_there_does_not_end_the_notebook(tmp_path: Path) -> None:
    course = Course(tmp_path)
    course.repository.rename(tmp_path / "gone")

    assert course.start() == 0

    assert "course.git" in (course.home / "course.log").read_text()

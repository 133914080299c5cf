"""The Airflow DAG says what the CronJob says, which an end-to-end test runs.

Airflow itself is not installed here: stand-ins for its classes take down what they are given.
"""

import runpy
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
import yaml

FOLDER = Path(__file__).parents[3] / "examples" / "scheduled"


class Recorded(SimpleNamespace):
    """Any class of Airflow's or the Kubernetes client's: remembers its arguments."""

    def __init__(self, *args, **kwargs):
        super().__init__(args=args, **kwargs)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


@pytest.fixture
def task(monkeypatch):
    """The arguments of the DAG's one task."""
    tasks = []

    class Operator:
        def __init__(self, **kwargs):
            tasks.append(kwargs)

    kubernetes_names = (
        "V1ConfigMapVolumeSource", "V1PersistentVolumeClaimVolumeSource", "V1ResourceRequirements",
        "V1Volume", "V1VolumeMount",
    )  # fmt: skip
    modules = {
        "airflow": {"DAG": Recorded},
        "airflow.providers": {},
        "airflow.providers.cncf": {},
        "airflow.providers.cncf.kubernetes": {},
        "airflow.providers.cncf.kubernetes.operators": {},
        "airflow.providers.cncf.kubernetes.operators.pod": {"KubernetesPodOperator": Operator},
        "airflow.providers.cncf.kubernetes.secret": {"Secret": Recorded},
        "kubernetes": {},
        "kubernetes.client": {
            "models": SimpleNamespace(**dict.fromkeys(kubernetes_names, Recorded))
        },
    }
    for name, content in modules.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    runpy.run_path(str(FOLDER / "airflow_dag.py"))
    (task,) = tasks
    return task


@pytest.fixture
def pod():
    """The pod template of the CronJob."""
    documents = yaml.safe_load_all((FOLDER / "cronjob.yaml").read_text())
    (cronjob,) = [document for document in documents if document["kind"] == "CronJob"]
    return cronjob["spec"]["jobTemplate"]["spec"]["template"]


def test_both_run_the_same_notebook_on_the_same_kernel(task, pod):
    (container,) = pod["spec"]["containers"]
    source, result, *options = container["args"]
    assert task["arguments"][0] == source
    assert task["arguments"][2:] == options
    assert Path(task["arguments"][1]).parent == Path(result).parent
    assert Path(task["image"]).name.partition(":")[0] == "job"
    assert Path(container["image"]).name.partition(":")[0] == "job"


def test_both_pods_may_do_the_same(task, pod):
    (container,) = pod["spec"]["containers"]
    assert task["namespace"] == "jupyter-users"
    assert task["labels"] == pod["metadata"]["labels"]
    assert task["service_account_name"] == pod["spec"]["serviceAccountName"]
    assert task["security_context"] == pod["spec"]["securityContext"]
    assert task["container_security_context"] == container["securityContext"]
    assert task["container_resources"].limits == container["resources"]["limits"]
    assert task["termination_grace_period"] == pod["spec"]["terminationGracePeriodSeconds"]


def test_both_pods_have_the_same_environment_and_volumes(task, pod):
    (container,) = pod["spec"]["containers"]
    plain = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    assert task["env_vars"] == plain
    (reference,) = [
        (entry["name"], *entry["valueFrom"]["secretKeyRef"].values())
        for entry in container["env"]
        if "secretKeyRef" in entry.get("valueFrom", {})
    ]
    (secret,) = task["secrets"]
    assert secret.args == ("env", *reference)
    assert {mount.name: mount.mount_path for mount in task["volume_mounts"]} == {
        mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]
    }
    notebook, output = task["volumes"]
    expected_notebook, expected_output = pod["spec"]["volumes"]
    assert notebook.config_map.name == expected_notebook["configMap"]["name"]
    claim = output.persistent_volume_claim.claim_name
    assert claim == expected_output["persistentVolumeClaim"]["claimName"]

"""JupyterKernelSpec and JupyterKernelTemplate to kernel.json and pod template."""

import copy

import pytest

from hub_service.kernelspecs import kernelspec
from hub_service.kernelspecs.kernelspec import KernelSpecError

DEFAULT = ["python3", "-m", "ipykernel_launcher", "-f", "/run/elastic/connection.json"]


def a_spec(**fields):
    return {"metadata": {"name": "python-gpu", "namespace": "users"}, "spec": fields}


def a_template(metadata=None, containers=None, **pod_spec):
    if containers is not None:
        pod_spec["containers"] = containers
    return {
        "metadata": {"name": "base", "namespace": "users"},
        "spec": {"template": {"metadata": metadata or {}, "spec": pod_spec}},
    }


def test_an_image_is_enough():
    result = kernelspec.kernel_template(a_spec(image="py:1"), None)
    assert result.template == {
        "metadata": {"labels": {}, "annotations": {}},
        "spec": {"containers": [{"name": "kernel", "image": "py:1", "command": DEFAULT}]},
    }
    assert result.left_out == []


def test_the_users_own_spec_and_template():
    spec = a_spec(
        language="Python",
        displayName="Python on Kubernetes as a JupyterKernelSpec",
        image="jupyter-kernel-py:2.5.0",
        className="enterprise_gateway.services.processproxies.kubeflow.KubeflowProcessProxy",
        template={"namespace": "users", "name": "base"},
        command=["kubeflow-launcher", "--RemoteProcessProxy.kernel-id", "{kernel_id}"],
    )
    template = a_template(
        metadata={"app": "enterprise-gateway", "component": "kernel"},
        restartPolicy="Always",
        containers=[{"name": "kernel"}],
    )
    assert kernelspec.kernelspec_json(spec) == {
        "argv": ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "Python on Kubernetes as a JupyterKernelSpec",
        "language": "Python",
        "interrupt_mode": "message",
        "env": {},
        "metadata": {},
    }
    result = kernelspec.kernel_template(spec, template)
    assert result.template["metadata"]["labels"] == {
        "app": "enterprise-gateway",
        "component": "kernel",
    }
    assert result.template["spec"] == {
        "restartPolicy": "Always",
        "containers": [{"name": "kernel", "image": "jupyter-kernel-py:2.5.0", "command": DEFAULT}],
    }


def test_the_spec_wins_over_the_template():
    template = a_template(
        nodeSelector={"gpu": "yes"},
        containers=[
            {"name": "sidecar", "image": "side:1"},
            {
                "name": "kernel",
                "image": "old:1",
                "command": ["old"],
                "args": ["old"],
                "env": [{"name": "A", "value": "template"}, {"name": "B", "value": "template"}],
                "resources": {"limits": {"cpu": "1"}},
            },
        ],
    )
    spec = a_spec(
        image="new:1",
        command=["R", "--args", "{connection_file}"],
        env=[{"name": "A", "value": "spec"}],
        resources={"limits": {"nvidia.com/gpu": 1}},
        template={"name": "base"},
    )
    before = copy.deepcopy((spec, template))
    result = kernelspec.kernel_template(spec, template).template["spec"]
    assert result["nodeSelector"] == {"gpu": "yes"}
    assert result["containers"] == [
        {"name": "sidecar", "image": "side:1"},
        {
            "name": "kernel",
            "image": "new:1",
            "command": ["R", "--args", "/run/elastic/connection.json"],
            "env": [{"name": "B", "value": "template"}, {"name": "A", "value": "spec"}],
            "resources": {"limits": {"nvidia.com/gpu": 1}},
        },
    ]
    assert (spec, template) == before


def test_fields_of_the_pod_win_over_the_templates():
    template = a_template(
        nodeSelector={"disk": "fast"},
        tolerations=[{"key": "other"}],
        schedulerName="theirs",
        containers=[
            {
                "name": "kernel",
                "volumeMounts": [
                    {"name": "small", "mountPath": "/dev/shm"},
                    {"name": "data", "mountPath": "/data"},
                ],
            }
        ],
        volumes=[{"name": "data"}, {"name": "small"}],
    )
    wanted = {
        "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists"}],
        "nodeSelector": {"gpu": "a100"},
        "runtimeClassName": "nvidia",
        "priorityClassName": "interactive",
        "imagePullSecrets": [{"name": "registry"}],
    }
    spec = a_spec(image="x", template={"name": "base"}, sharedMemory="2Gi", **wanted)
    pod = kernelspec.kernel_template(spec, template).template["spec"]
    assert pod.items() >= wanted.items()
    assert pod["schedulerName"] == "theirs"
    assert pod["containers"][0]["volumeMounts"] == [
        {"name": "data", "mountPath": "/data"},
        {"name": "elastic-shared-memory", "mountPath": "/dev/shm"},
    ]
    memory = {"medium": "Memory", "sizeLimit": "2Gi"}
    assert {"name": "elastic-shared-memory", "emptyDir": memory} in pod["volumes"]


@pytest.mark.parametrize("amount", ["2Gi", "500m", 1, ".5", "1e3", "+1"])
def test_quantities(amount):
    kernelspec.kernel_template(a_spec(image="x", resources={"limits": {"cpu": amount}}), None)


@pytest.mark.parametrize("amount", ["2 Gi", "much", "1GiB", ""])
def test_what_is_no_quantity(amount):
    template = a_template(containers=[{"name": "kernel", "resources": {"limits": {"m": amount}}}])
    with pytest.raises(KernelSpecError, match=r"containers\[kernel\].resources.limits\[m\]") as e:
        kernelspec.kernel_template(a_spec(image="x", template={"name": "base"}), template)
    assert e.value.reason == "InvalidQuantity"


def test_a_template_that_may_not_be_read_says_which_right_is_missing():
    spec = a_spec(image="x", template={"name": "base", "namespace": "shared"})
    with pytest.raises(KernelSpecError) as error:
        kernelspec.kernel_template(spec, None, forbidden=True)
    assert error.value.reason == "TemplateForbidden"
    assert "system:serviceaccounts:users" in str(error.value)


def test_the_templates_command_is_kept_where_the_spec_has_none():
    containers = [{"name": "kernel", "image": "x", "args": ["run", "{connection_file}"]}]
    spec = a_spec(template={"name": "base"})
    result = kernelspec.kernel_template(spec, a_template(containers=containers))
    container = result.template["spec"]["containers"][0]
    assert container["args"] == ["run", "/run/elastic/connection.json"]
    assert "command" not in container


def test_what_cannot_come_from_a_template_is_said():
    template = a_template(
        metadata={"name": "x", "finalizers": ["f"], "app": "y", "depth": 3}, containers=[]
    )
    result = kernelspec.kernel_template(a_spec(image="i", template={"name": "base"}), template)
    assert result.template["metadata"]["labels"] == {"app": "y"}
    assert [sentence.split()[0] for sentence in result.left_out] == [
        "metadata.name",
        "metadata.finalizers",
        "metadata.depth",
    ]


@pytest.mark.parametrize(
    ("fields", "template", "field", "value", "words"),
    [
        ({}, None, "spec.image", None, "Set spec.image"),
        (
            {"template": {"name": "base"}},
            a_template(containers=[{"name": "kernel"}]),
            "spec.image",
            None,
            "Set spec.image",
        ),
        (
            {"image": "x", "template": {"name": "no"}},
            None,
            "spec.template",
            "users/no",
            "Create it",
        ),
        (
            {"image": "x", "template": {"name": "no", "namespace": "other"}},
            None,
            "spec.template",
            "other/no",
            "Create it",
        ),
        (
            {"image": "x", "className": "a.b.DockerSwarmProcessProxy"},
            None,
            "spec.className",
            "a.b.DockerSwarmProcessProxy",
            "Remove",
        ),
        (
            {"image": "x", "command": ["launch", "{response_address}"]},
            None,
            "spec.command",
            ["launch", "{response_address}"],
            "{connection_file}",
        ),
    ],
    ids=["no image", "none in the template", "no template", "none elsewhere", "class", "command"],
)
def test_errors_name_field_value_and_way_out(fields, template, field, value, words):
    with pytest.raises(KernelSpecError) as error:
        kernelspec.kernel_template(a_spec(**fields), template)
    assert (error.value.field, error.value.value) == (field, value)
    message = str(error.value)
    for part in ("JupyterKernelSpec python-gpu", field, repr(value), words):
        assert part in message


def test_kernelspec_json_has_defaults_for_everything():
    assert kernelspec.kernelspec_json(a_spec(interruptMode="signal")) == {
        "argv": ["python3", "-m", "ipykernel_launcher", "-f", "{connection_file}"],
        "display_name": "python-gpu",
        "language": "python",
        "interrupt_mode": "signal",
        "env": {},
        "metadata": {},
    }


@pytest.mark.parametrize(
    ("reference", "key"),
    [(None, None), ({"name": "t"}, ("users", "t")), ({"name": "t", "namespace": "n"}, ("n", "t"))],
)
def test_template_reference(reference, key):
    spec = a_spec(**({"template": reference} if reference else {}))
    assert kernelspec.template_reference(spec) == key


def test_an_encrypted_kernel_has_a_connection_file_that_it_may_write():
    spec = {"metadata": {"name": "s", "namespace": "n"}, "spec": {"image": "k"}}
    plain = kernelspec.kernel_template(spec, None).template["spec"]["containers"][0]["command"]
    spec["spec"]["encryption"] = "curve"
    command = kernelspec.kernel_template(spec, None).template["spec"]["containers"][0]["command"]
    assert command[:2] == ["sh", "-c"]
    assert command[2].startswith("umask 077 && cp /run/elastic/connection.json /tmp/")
    assert command[4:-1] == plain[:-1]
    assert command[-1] in command[2]
    spec["spec"]["encryption"] = "none"
    assert (
        kernelspec.kernel_template(spec, None).template["spec"]["containers"][0]["command"] == plain
    )

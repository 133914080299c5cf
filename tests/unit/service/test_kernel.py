"""JupyterKernel: its pod."""

import copy

import pytest

from hub_service.kernels import kernel, kernel_status
from hub_service.kinds import condition
from hub_service.pods import podtemplate
from tests.unit.service.kernels import (
    NOW,
    a_kernel,
    a_pod,
    admitted,
    admitted_of,
)


def is_the_kernels(container):
    return any(entry["name"] == "KERNEL_ID" for entry in container["env"])


class TestPod:
    def test_is_what_the_template_says_and_what_a_kernel_needs(self):
        item = a_kernel(
            server="",
            gateway={"name": "gw"},
            kernelSpecName="python_gpu",
            connectionSecret="kernel-1",
            metadata={"labels": {"team": "x"}, "annotations": {"note": "y"}},
            pod_spec={"tolerations": [{"key": "gpu"}]},
        )
        assert kernel.desired_pod(item) == {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": "kernel-1",
                "namespace": "users",
                "labels": {
                    "team": "x",
                    "app.kubernetes.io/name": "elastic-kernels",
                    "app.kubernetes.io/component": "kernel",
                    "app.kubernetes.io/managed-by": "elastic-hub-service",
                    "kubeflow.tkestack.io/kernel-id": "0b2c",
                    "kubeflow.tkestack.io/owner": "alice",
                    "kubeflow.tkestack.io/server": "",
                    "kubeflow.tkestack.io/gateway": "gw",
                    "kubeflow.tkestack.io/kernel-spec": "python_gpu",
                },
                "annotations": {"note": "y"},
                "ownerReferences": [
                    {
                        "apiVersion": "kubeflow.tkestack.io/v1alpha1",
                        "kind": "JupyterKernel",
                        "name": "kernel-1",
                        "uid": "u-1",
                        "controller": True,
                    }
                ],
            },
            "spec": {
                "tolerations": [{"key": "gpu"}],
                "restartPolicy": "Never",
                "enableServiceLinks": False,
                "automountServiceAccountToken": False,
                "terminationGracePeriodSeconds": 2,
                "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
                "volumes": [{"name": "elastic-connection", "secret": {"secretName": "kernel-1"}}],
                "containers": [
                    {
                        "name": "kernel",
                        "image": "kernel:1",
                        "env": [
                            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
                            {"name": "KERNEL_ID", "value": "0b2c"},
                            {"name": "KERNEL_USERNAME", "value": "alice"},
                        ],
                        "volumeMounts": [
                            {
                                "name": "elastic-connection",
                                "mountPath": "/run/elastic",
                                "readOnly": True,
                            }
                        ],
                        "terminationMessagePolicy": "FallbackToLogsOnError",
                        "securityContext": {
                            "runAsNonRoot": True,
                            "allowPrivilegeEscalation": False,
                            "capabilities": {"drop": ["ALL"]},
                        },
                    }
                ],
            },
        }

    def test_leaves_its_input_alone(self):
        item = a_kernel(
            connectionSecret="s",
            pod_spec={
                "volumes": [],
                "containers": [{"name": "a", "env": [], "volumeMounts": []}],
            },
        )
        before = copy.deepcopy(item)
        kernel.desired_pod(item)
        kernel_status.of_pod(admitted(), a_pod("Running"), NOW)
        assert item == before

    def test_later_incarnations_have_names_of_their_own(self):
        assert kernel.desired_pod(a_kernel(incarnation=2))["metadata"]["name"] == "kernel-1-2"

    def test_the_kernels_container_is_found_by_its_name(self):
        pod = kernel.desired_pod(
            a_kernel(pod_spec={"containers": [{"name": "sidecar"}, {"name": "kernel"}]})
        )
        assert [is_the_kernels(one) for one in pod["spec"]["containers"]] == [False, True]

    def test_or_is_the_first_one(self):
        pod = kernel.desired_pod(
            a_kernel(pod_spec={"containers": [{"name": "python"}, {"name": "sidecar"}]})
        )
        assert [is_the_kernels(one) for one in pod["spec"]["containers"]] == [True, False]

    @pytest.mark.parametrize(
        ("container", "hidden"),
        [
            ({}, True),
            ({"resources": {"limits": {"cpu": "1", "memory": "1Gi"}}}, True),
            ({"resources": {"requests": {"hugepages-2Mi": "4Mi"}}}, True),
            ({"resources": {"limits": {"nvidia.com/gpu": 1}}}, False),
            ({"resources": {"limits": {"example.com/shared-gpu": 1}}}, False),
            ({"resources": {"claims": [{"name": "gpu"}]}}, False),
        ],
    )
    def test_a_container_without_a_device_sees_none_of_its_node(self, container, hidden):
        containers = [{"name": "kernel", "resources": {"limits": {"nvidia.com/gpu": 1}}}, container]
        pod = kernel.desired_pod(a_kernel(pod_spec={"containers": containers}))
        of_the_kernel, of_the_other = (one.get("env", []) for one in pod["spec"]["containers"])
        assert (podtemplate.NO_DEVICES in of_the_other) == hidden
        assert podtemplate.NO_DEVICES not in of_the_kernel

    def test_which_devices_it_sees_may_be_said_by_its_template(self):
        env = [{"name": "NVIDIA_VISIBLE_DEVICES", "value": "all"}]
        pod = kernel.desired_pod(a_kernel(pod_spec={"containers": [{"name": "a", "env": env}]}))
        assert env[0] in pod["spec"]["containers"][0]["env"]
        assert podtemplate.NO_DEVICES not in pod["spec"]["containers"][0]["env"]

    def test_the_templates_own_variables_and_grace_stay(self):
        env = [{"name": "HOME", "value": "/data"}, {"name": "KERNEL_USERNAME", "value": "root"}]
        pod = kernel.desired_pod(
            a_kernel(
                pod_spec={
                    "terminationGracePeriodSeconds": 30,
                    "containers": [{"name": "kernel", "env": env}],
                }
            )
        )
        assert pod["spec"]["terminationGracePeriodSeconds"] == 30
        assert pod["spec"]["containers"][0]["env"] == [
            {"name": "HOME", "value": "/data"},
            {"name": "NVIDIA_VISIBLE_DEVICES", "value": "void"},
            {"name": "KERNEL_ID", "value": "0b2c"},
            {"name": "KERNEL_USERNAME", "value": "alice"},
        ]

    def test_a_users_name_is_never_expanded_by_kubernetes(self):
        item = a_kernel(pod_spec={"containers": [{"name": "kernel"}]})
        item["spec"]["owner"] = "$(HOME)$"
        env = kernel.desired_pod(item)["spec"]["containers"][0]["env"]
        assert {"name": "KERNEL_USERNAME", "value": "$$(HOME)$$"} in env

    def test_a_template_without_containers_is_left_to_the_api_server(self):
        assert kernel.desired_pod(a_kernel(pod_spec={"containers": []}))["spec"]["containers"] == []

    def test_texts_in_the_metadata_are_labels_but_never_the_hubs_own(self):
        item = a_kernel(metadata={"app": "gateway", "component": "singleuser-server", "name": "x"})
        labels = kernel.desired_pod(item)["metadata"]["labels"]
        assert labels["app"] == "gateway"
        assert "component" not in labels
        message = condition(admitted_of(item), "TemplateAccepted")["message"]
        assert "metadata.name is left out" in message
        assert "component: singleuser-server is left out" in message

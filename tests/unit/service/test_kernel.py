"""JupyterKernel: its pod."""

import copy

from hub_service.kernels import kernel, kernel_status
from hub_service.kinds import condition
from tests.unit.service.kernels import (
    NOW,
    a_kernel,
    a_pod,
    admitted,
    admitted_of,
)


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
        assert ["env" in container for container in pod["spec"]["containers"]] == [False, True]

    def test_or_is_the_first_one(self):
        pod = kernel.desired_pod(
            a_kernel(pod_spec={"containers": [{"name": "python"}, {"name": "sidecar"}]})
        )
        assert ["env" in container for container in pod["spec"]["containers"]] == [True, False]

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

"""The same run as cronjob.yaml's, as an Airflow DAG: a pod on the cluster that runs papermill.

For Airflow 2.9 or newer with its provider for Kubernetes, in a cluster or with a connection to
one. ServiceAccount, claim, ConfigMap and Secret are those of cronjob.yaml. A failing cell fails the
task, with its traceback in the task's log; a task that is cleared or timed out deletes the pod,
which shuts the kernel down.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow import DAG
from airflow.providers.cncf.kubernetes.operators.pod import KubernetesPodOperator
from airflow.providers.cncf.kubernetes.secret import Secret
from kubernetes.client import models as k8s

NAMESPACE = "jupyter-users"
IMAGE = "registry.example.org/team/job:0.1"

with DAG(
    dag_id="nightly_digits",
    schedule="15 2 * * *",
    start_date=datetime(2026, 1, 1),
    catchup=False,
    max_active_runs=1,
    default_args={"retries": 0, "execution_timeout": timedelta(hours=6)},
) as dag:
    KubernetesPodOperator(
        task_id="digits",
        name="nightly-digits",
        namespace=NAMESPACE,
        image=IMAGE,
        # papermill's arguments; the image's entrypoint is papermill with the engine `elastic`.
        arguments=[
            "/notebooks/digits.ipynb",
            "/output/digits-{{ ds_nodash }}-{{ ti.try_number }}.ipynb",
            "--kernel",
            "python-gpu",
        ],
        env_vars={
            "JUPYTER_GATEWAY_URL": f"http://elastic-gateway.{NAMESPACE}:8888",
            "KERNEL_LAUNCH_TIMEOUT": "300",
        },
        secrets=[Secret("env", "JUPYTER_GATEWAY_AUTH_TOKEN", "nightly-token", "token")],
        # Network policies: this pod may ask gateways.
        labels={"kubeflow.tkestack.io/network-access-gateway": "true"},
        service_account_name="scheduled-notebooks",
        automount_service_account_token=False,
        security_context={
            "runAsNonRoot": True,
            "fsGroup": 100,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        container_security_context={
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        },
        container_resources=k8s.V1ResourceRequirements(
            requests={"cpu": "50m", "memory": "128Mi"}, limits={"memory": "512Mi"}
        ),
        volumes=[
            k8s.V1Volume(
                name="notebook",
                config_map=k8s.V1ConfigMapVolumeSource(name="nightly-notebook"),
            ),
            k8s.V1Volume(
                name="output",
                persistent_volume_claim=k8s.V1PersistentVolumeClaimVolumeSource(
                    claim_name="nightly-output"
                ),
            ),
        ],
        volume_mounts=[
            k8s.V1VolumeMount(name="notebook", mount_path="/notebooks", read_only=True),
            k8s.V1VolumeMount(name="output", mount_path="/output"),
        ],
        termination_grace_period=30,
        on_finish_action="delete_pod",
        get_logs=True,
    )

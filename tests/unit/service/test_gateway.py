"""JupyterGateway: its parts and its status."""

import dataclasses
from datetime import UTC, datetime

import pytest

from hub_service.gateways import gateway
from hub_service.gateways.gateway import Surroundings
from hub_service.kinds import DEPLOYMENTS, ROLE_BINDINGS, SERVICE_ACCOUNTS, SERVICES, condition

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DEFAULTS = gateway.Defaults(
    image="gateway:default",
    image_pull_policy="IfNotPresent",
    image_pull_secrets=("registry",),
    start=gateway.StartTimes(answer_timeout=120, answer_after=5, grace=60),
    cluster_role="elastic-gateway",
    hub_api_url="http://hub.jhub:8081/hub/api",
    service_name="elastic",
)


def a_gateway(**spec):
    return {
        "metadata": {"name": "gw", "namespace": "users", "uid": "u", "generation": 3},
        "spec": spec,
    }


def parts(item):
    return dict(gateway.desired(item, DEFAULTS))


def environment(item):
    container = parts(item)[DEPLOYMENTS]["spec"]["template"]["spec"]["containers"][0]
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def test_its_parts_have_its_name_and_go_with_it():
    made = gateway.desired(a_gateway(), DEFAULTS)
    assert [resource for resource, _ in made] == [
        SERVICE_ACCOUNTS,
        ROLE_BINDINGS,
        SERVICES,
        DEPLOYMENTS,
    ]
    for resource, body in made:
        assert (body["kind"], body["apiVersion"]) == (resource.kind, resource.api_version)
        assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("gw", "users")
        assert body["metadata"]["ownerReferences"][0]["uid"] == "u"


def test_the_pods_may_reach_the_hub_and_are_no_notebooks():
    deployment = parts(a_gateway())[DEPLOYMENTS]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert labels["hub.jupyter.org/network-access-hub"] == "true"
    assert labels["app.kubernetes.io/component"] == "gateway"
    assert "component" not in labels
    for selector in (
        deployment["selector"]["matchLabels"],
        parts(a_gateway())[SERVICES]["spec"]["selector"],
    ):
        assert selector.items() <= labels.items()


@pytest.mark.parametrize(
    ("spec", "secrets"),
    [
        ({}, [{"name": "registry"}]),
        ({"imagePullSecrets": [{"name": "mine"}]}, [{"name": "mine"}]),
        ({"imagePullSecrets": []}, None),
    ],
)
def test_the_image_may_need_a_password(spec, secrets):
    pod = parts(a_gateway(**spec))[DEPLOYMENTS]["spec"]["template"]["spec"]
    assert pod.get("imagePullSecrets") == secrets


def test_the_pods_are_restricted():
    pod = parts(a_gateway())[DEPLOYMENTS]["spec"]["template"]["spec"]
    assert pod["securityContext"] == {
        "runAsNonRoot": True,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["containers"][0]["readinessProbe"]["httpGet"]["path"] == "/api/health"


def test_pods_are_replaced_without_a_gap():
    spec = parts(a_gateway())[DEPLOYMENTS]["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}
    assert parts(a_gateway(replicas=2))[DEPLOYMENTS]["spec"]["replicas"] == 2


def test_defaults():
    container = parts(a_gateway())[DEPLOYMENTS]["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("gateway:default", "IfNotPresent")
    assert parts(a_gateway())[ROLE_BINDINGS]["roleRef"]["name"] == "elastic-gateway"
    assert environment(a_gateway()) == {
        "ELASTIC_NAMESPACE": None,  # from the pod's own metadata
        "ELASTIC_POD_NAME": None,
        "JUPYTERHUB_API_URL": "http://hub.jhub:8081/hub/api",
        "ELASTIC_GATEWAY_NAME": "gw",
        "ELASTIC_SERVICE_NAME": "elastic",
        "ELASTIC_START_TIMEOUT": "120",
        "ELASTIC_START_ANSWER_AFTER": "5",
        "ELASTIC_START_GRACE": "60",
    }


def test_what_it_says_itself_wins():
    item = a_gateway(
        image="gateway:2",
        imagePullPolicy="Always",
        clusterRole="narrow",
        resources={"limits": {"memory": "1Gi"}},
    )
    container = parts(item)[DEPLOYMENTS]["spec"]["template"]["spec"]["containers"][0]
    assert (container["image"], container["imagePullPolicy"]) == ("gateway:2", "Always")
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert parts(item)[ROLE_BINDINGS]["roleRef"]["name"] == "narrow"


def test_what_can_change_while_kernels_run_is_not_in_the_deployment():
    live = a_gateway(
        kernels=["python", "r"],
        defaultKernel="r",
        startTimeout=20,
        startAnswerAfter=1,
        startGrace=10,
        logLevel="DEBUG",
        cullIdleTimeout=10,
        cullInterval=10,
        notebookNamespaces=["labs"],
    )
    assert parts(live) == parts(a_gateway())


def test_without_a_hub_there_is_none_to_ask():
    alone = dataclasses.replace(DEFAULTS, hub_api_url=None)
    made = dict(gateway.desired(a_gateway(), alone))
    container = made[DEPLOYMENTS]["spec"]["template"]["spec"]["containers"][0]
    assert "JUPYTERHUB_API_URL" not in {entry["name"] for entry in container["env"]}


@pytest.mark.parametrize(
    ("allowed", "accepted"),
    [(None, {"users"}), ([], set()), (["labs"], {"labs"}), (["*"], {"users", "labs"})],
)
def test_whose_notebooks_it_takes(allowed, accepted):
    item = a_gateway() if allowed is None else a_gateway(notebookNamespaces=allowed)
    assert {name for name in ("users", "labs") if gateway.accepts(item, name)} == accepted


def a_deployment(*conditions, observed=2, **status):
    return {
        "metadata": {"generation": 2},
        "status": {
            "observedGeneration": observed,
            "conditions": [
                dict(zip(("type", "status", "message"), c, strict=True)) for c in conditions
            ],
            **status,
        },
    }


UP = ("Available", "True", "Deployment has minimum availability.")
DOWN = ("Available", "False", "Deployment does not have minimum availability.")


@pytest.mark.parametrize(
    ("deployment", "status", "reason", "words"),
    [
        (None, "False", "DeploymentUnavailable", "no Deployment yet"),
        (a_deployment(UP, observed=1), "False", "DeploymentUnavailable", "being changed"),
        (a_deployment(UP), "True", "DeploymentAvailable", "answers"),
        (a_deployment(DOWN), "False", "DeploymentUnavailable", "does not answer"),
        (
            a_deployment(DOWN, ("Progressing", "False", "has timed out progressing.")),
            "False",
            "DeploymentUnavailable",
            "has timed out progressing.",
        ),
        (
            a_deployment(DOWN, ("ReplicaFailure", "True", "pods is forbidden: exceeded quota")),
            "False",
            "DeploymentUnavailable",
            "exceeded quota",
        ),
    ],
)
def test_available(deployment, status, reason, words):
    item = a_gateway()
    entry = condition({"status": gateway.status(item, Surroundings(deployment), NOW)}, "Available")
    assert (entry["status"], entry["reason"]) == (status, reason)
    assert words in entry["message"]


def test_status():
    around = Surroundings(
        a_deployment(UP, replicas=1, readyReplicas=1), kernels=2, service_token_hash="ab"
    )
    status = gateway.status(a_gateway(), around, NOW)
    assert (status["kernels"], status["serviceTokenHash"]) == (2, "ab")
    assert status["notebooks"] is None
    assert status["url"] == "http://gw.users:8888"
    assert status["observedGeneration"] == 3
    assert (status["replicas"], status["readyReplicas"]) == (1, 1)
    assert status["unavailableReplicas"] is None
    assert condition({"status": status}, "Accepted")["status"] == "True"


def test_a_refusal_is_told_in_the_api_servers_words():
    refusal = 'Deployment: spec.template.spec.containers[0].image: Invalid value: " "'
    status = gateway.status(a_gateway(), Surroundings(refusal=refusal), NOW)
    entry = condition({"status": status}, "Accepted")
    assert (entry["status"], entry["reason"], entry["message"]) == ("False", "InvalidSpec", refusal)


def test_a_role_that_may_not_be_bound_is_named_without_all_its_rights():
    made = parts(a_gateway(clusterRole="admin"))
    text = gateway.refusal(ROLE_BINDINGS, made[ROLE_BINDINGS], 403, "forbidden: {APIGroups: …}")
    assert text.startswith("spec.clusterRole: the service may not bind the ClusterRole admin")
    assert "APIGroups" not in text
    assert gateway.refusal(SERVICES, made[SERVICES], 403, "No.") == "Service: No."


@pytest.mark.parametrize(
    ("spec", "there", "reason", "words"),
    [
        ({}, {"r"}, "Found", "are there"),
        ({}, set(), "NoKernelSpecs", "no JupyterKernelSpec in the namespace users"),
        ({"kernels": ["r"], "defaultKernel": "r"}, {"r"}, "Found", "are there"),
        ({"kernels": ["r", "julia"]}, {"r"}, "KernelSpecNotFound", "(spec.kernels: julia)"),
        ({"defaultKernel": "r"}, {"julia"}, "KernelSpecNotFound", "(spec.defaultKernel: r)"),
    ],
)
def test_kernels_that_are_not_there_are_said(spec, there, reason, words):
    around = Surroundings(kernel_specs=frozenset(there))
    status = gateway.status(a_gateway(**spec), around, NOW)
    entry = condition({"status": status}, "KernelSpecsFound")
    assert (entry["status"] == "True", entry["reason"]) == (reason == "Found", reason)
    assert words in entry["message"]

"""The service's own Deployment says the same as the hub's values and the rights."""

from __future__ import annotations

import yaml

from hub_service import settings
from hub_service.app import read_settings
from tests.unit.values.manifests import VALUES, documents

OWN, RIGHTS = documents("service.yaml"), documents("rbac.yaml")
ELASTIC = yaml.safe_load((VALUES / "elastic.yaml").read_text())
EXTERNAL = yaml.safe_load((VALUES / "external-service.yaml").read_text())


def environment() -> dict[str, str]:
    (container,) = OWN["Deployment", "elastic-service"]["spec"]["template"]["spec"]["containers"]
    given = {entry["name"]: entry.get("value", "from a Secret") for entry in container["env"]}
    return given | OWN["ConfigMap", "elastic-service"]["data"]


def test_the_settings_are_those_of_the_values() -> None:
    here = settings.load(environment()[settings.ENVIRONMENT_VARIABLE])
    there = dict(ELASTIC["custom"]["elastic"])
    more = EXTERNAL["custom"]["elastic"]["service"]

    assert here == settings.parse({**there, "service": {**there["service"], **more}})


def test_the_hubs_address_is_where_the_pod_finds_it() -> None:
    config = read_settings(environment())

    assert config.hub.api_url == "http://hub.jupyter:8081/hub/api"
    assert environment()["JUPYTERHUB_SERVICE_PREFIX"] == f"/services/{config.service.name}/"
    assert environment()["JUPYTERHUB_CLIENT_ID"] == f"service-{config.service.name}"


def test_the_token_is_the_one_that_the_chart_makes() -> None:
    (container,) = OWN["Deployment", "elastic-service"]["spec"]["template"]["spec"]["containers"]
    (secret,) = [entry["valueFrom"] for entry in container["env"] if "valueFrom" in entry]
    (name,) = EXTERNAL["hub"]["services"]

    assert secret["secretKeyRef"] == {"name": "hub", "key": f"hub.services.{name}.apiToken"}


def test_ports_and_names_fit() -> None:
    config = read_settings(environment())
    deployment = OWN["Deployment", "elastic-service"]
    (container,) = deployment["spec"]["template"]["spec"]["containers"]

    ports = {entry["name"]: entry["containerPort"] for entry in container["ports"]}
    assert ports == {"http": config.service.port, "metrics": config.service.metrics_port}
    (port,) = OWN["Service", "elastic-service"]["spec"]["ports"]
    assert port["port"] == config.service.port
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for kind in ("Service", "PodDisruptionBudget"):
        selector = OWN[kind, "elastic-service"]["spec"]["selector"]
        assert (selector.get("matchLabels") or selector).items() <= labels.items()


def test_it_may_do_what_the_hubs_may() -> None:
    for kind, name in (
        ("RoleBinding", "elastic-service"),
        ("ClusterRoleBinding", "elastic-service-nodes"),
    ):
        (mine,) = [
            item
            for (found, _), item in OWN.items()
            if found == kind and item["roleRef"] == RIGHTS[kind, name]["roleRef"]
        ]
        (subject,) = mine["subjects"]
        account = OWN["ServiceAccount", subject["name"]]
        assert account["metadata"]["namespace"] == subject["namespace"]

"""One call sets the hub up, and says clearly what it can't use."""

from __future__ import annotations

import json
from typing import Any

import pytest
from traitlets.config import Config

from elastic_spawner import ElasticSpawner, configure
from hub_service.settings import SettingsError

OWN = ["access:services!service=elastic", "custom:elastic:kernels"]

SETTINGS: dict[str, Any] = {"gateway": {"image": "elastic/gateway:dev"}}
SERVICE_ROLE = {
    "name": "elastic-service",
    "description": "Whose servers run, and that they do while their kernels work; "
    "who is in which group, and the limits that are written there",
    "services": ["elastic"],
    "scopes": ["read:servers", "users:activity", "list:groups", "read:groups"],
}


@pytest.fixture(autouse=True)
def in_the_hubs_pod(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POD_NAMESPACE", "jupyter")
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "198.19.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    monkeypatch.delenv("KUBECONFIG", raising=False)


def test_the_spawner_gets_the_gateway_and_the_namespace() -> None:
    c = Config()

    configure(c, {**SETTINGS, "namespace": "people", "start": {"answerTimeout": 90}})

    assert c.JupyterHub.spawner_class is ElasticSpawner
    assert c.JupyterHub.hub_connect_url == "http://hub.jupyter:8081"
    assert c.ElasticSpawner.namespace == "people"
    assert c.ElasticSpawner.gateway_url == "http://elastic-gateway.people:8888"
    assert c.ElasticSpawner.kernel_start_timeout == 90


def test_the_service_gets_what_it_needs_to_reach_hub_and_cluster() -> None:
    c = Config()
    c.JupyterHub.base_url = "/jupyter"

    configure(c, SETTINGS)

    (service,) = c.JupyterHub.services
    environment = service["environment"]
    assert service["url"] == "http://hub:10101"
    assert service["command"][1:] == ["-m", "hub_service"]
    assert environment["KUBERNETES_SERVICE_HOST"] == "198.19.0.1"
    assert environment["JUPYTERHUB_API_URL"] == "http://127.0.0.1:8081/jupyter/hub/api"
    handed_on = json.loads(environment["ELASTIC_SETTINGS"])
    assert handed_on["hub"]["apiUrl"] == "http://hub.jupyter:8081/jupyter/hub/api"


def test_services_and_roles_of_others_stay() -> None:
    c = Config()
    c.JupyterHub.services = [{"name": "announcements"}]
    c.JupyterHub.load_roles = [
        {"name": "user", "scopes": ["self", "read:groups"]},
        {"name": "teachers", "scopes": ["list:users"]},
    ]

    configure(c, SETTINGS)

    assert [s["name"] for s in c.JupyterHub.services] == ["announcements", "elastic"]
    assert c.JupyterHub.load_roles == [
        {"name": "user", "scopes": ["self", "read:groups", *OWN]},
        {"name": "teachers", "scopes": ["list:users"]},
        SERVICE_ROLE,
    ]


def test_what_is_said_of_our_service_stands() -> None:
    c = Config()
    c.JupyterHub.services = [
        {"name": "elastic", "api_token": "secret", "display": False, "environment": {"TZ": "UTC"}}
    ]

    configure(c, SETTINGS)

    (service,) = c.JupyterHub.services
    assert (service["api_token"], service["display"]) == ("secret", False)
    assert service["url"] == "http://hub:10101"
    assert {"TZ", "ELASTIC_SETTINGS"} <= set(service["environment"])


def test_users_may_reach_the_service_by_default() -> None:
    c = Config()

    configure(c, SETTINGS)

    role, service_role = c.JupyterHub.load_roles
    assert service_role == SERVICE_ROLE
    assert role["name"] == "user"
    assert role["scopes"] == ["self", *OWN]
    assert list(c.JupyterHub.custom_scopes) == ["custom:elastic:kernels"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "gateway: is required"),
        ({"gateway": {}}, "gateway.image: is required"),
        ({**SETTINGS, "quotta": {}}, "quotta: there is no such setting"),
        ({**SETTINGS, "quota": {"kernelsPerUser": "many"}}, "quota.kernelsPerUser: .*'many'"),
        (
            {**SETTINGS, "quota": {"resourcesPerUser": {"gpu": 1}}},
            "quota.resourcesPerUser: .*'gpu' is no resource .* nvidia.com/gpu",
        ),
        (
            {**SETTINGS, "quota": {"resourcesPerUser": {"kernels": 1}}},
            "quota.resourcesPerUser: .*write the number of kernels as quota.kernelsPerUser",
        ),
        (
            {**SETTINGS, "quota": {"users": {"ada": {"memory": "32"}}}},
            "quota.users: .*of ada: '32' is no limit of memory: write one such as 32Gi",
        ),
        ({**SETTINGS, "quota": {"users": {"ada": 4}}}, "quota.users.ada: .*dictionary"),
        ({**SETTINGS, "quota": {"whenFull": "queue"}}, "quota.whenFull: .*'refuse' or 'wait'"),
        ({**SETTINGS, "namespace": "Users"}, "namespace: .*'Users'"),
        ({**SETTINGS, "namespace": "kube-system"}, "belong to the cluster"),
        ({**SETTINGS, "start": {"answerTimeout": 0}}, "start.answerTimeout: .*given: 0"),
        ({**SETTINGS, "start": {"timeout": 300}}, r"start\.timeout: .*start\.answerTimeout"),
        ({**SETTINGS, "hub": {"apiUrl": "hub:8081"}}, "hub.apiUrl: .*'hub:8081'"),
    ],
)
def test_a_bad_setting_is_named_with_its_value(settings: dict[str, Any], message: str) -> None:
    c = Config()

    with pytest.raises(SettingsError, match=message):
        configure(c, settings)

    assert "spawner_class" not in c.JupyterHub


def test_outside_a_cluster_the_hubs_address_must_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("POD_NAMESPACE")
    c = Config()

    with pytest.raises(SettingsError, match=r"hub\.apiUrl: is required"):
        configure(c, SETTINGS)

    configure(c, {**SETTINGS, "hub": {"apiUrl": "http://198.19.0.9:8081/hub/api"}})
    assert c.JupyterHub.hub_connect_url == "http://198.19.0.9:8081"


def test_gateways_per_user_get_everybodys_spec() -> None:
    c = Config()
    gateway = {"image": "i", "mode": "per-user", "namedServers": "separate", "kernels": ["r"]}

    configure(c, {"gateway": gateway, "start": {"answerTimeout": 90}})

    assert c.ElasticSpawner.gateway_mode == "per-user"
    assert c.ElasticSpawner.gateway_url == ""
    assert c.ElasticSpawner.gateway_named_servers == "separate"
    spec = c.ElasticSpawner.gateway_spec
    assert (spec["image"], spec["kernels"], spec["startTimeout"]) == ("i", ["r"], 90)
    assert (spec["startAnswerAfter"], spec["startGrace"]) == (5, 60)

    configure(c, {"gateway": {**gateway, "keepShared": True}})

    assert c.ElasticSpawner.gateway_url == "http://elastic-gateway.jupyter-users:8888"


def test_namespaces_per_user_are_kubespawners() -> None:
    c = Config()

    configure(c, {**SETTINGS, "userNamespaces": {"enabled": True}})

    assert c.ElasticSpawner.enable_user_namespaces is True
    assert c.ElasticSpawner.user_namespace_template == "hub-{username}"

    c.KubeSpawner.user_namespace_template = "people-{username}"
    del c.ElasticSpawner.enable_user_namespaces
    configure(c, {**SETTINGS, "userNamespaces": {"enabled": True}})

    assert c.ElasticSpawner.user_namespace_template == "people-{username}"


def test_users_namespaces_refuse_what_the_settings_do_not_allow() -> None:
    enforced = "pod-security.kubernetes.io/enforce"
    c = Config()
    c.KubeSpawner.user_namespace_labels = {"team": "a"}
    namespaces = {**SETTINGS, "userNamespaces": {"enabled": True}}

    configure(c, namespaces)

    assert c.ElasticSpawner.user_namespace_labels == {"team": "a", enforced: "restricted"}

    c = Config()
    configure(c, {**namespaces, "podSecurity": {"hostPaths": ["/data"]}})

    assert enforced not in c.ElasticSpawner.user_namespace_labels


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("namespace_name_template", "hub-{username}", "user_namespace_template.*userNamespaces"),
        ("enable_user_namespaces", True, r"set userNamespaces\.enabled"),
    ],
)
def test_namespaces_that_the_service_would_not_know_of_are_refused(
    option: str, value: object, message: str
) -> None:
    c = Config()
    c.KubeSpawner[option] = value

    with pytest.raises(SettingsError, match=message):
        configure(c, SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"namespaceNameTemplate": "x"}, r"namespaceNameTemplate: .*userNamespaces\.template"),
        ({"userNamespaces": {"namespace_name_template": "x"}}, r"is userNamespaces\.template now"),
        ({"userNamespaces": {"template": "all"}}, r"userNamespaces\.template: .*\{username\}"),
        ({"extraNamespaces": ["Lab"]}, r"extraNamespaces\.0: .*'Lab'"),
    ],
)
def test_settings_of_namespaces_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        configure(Config(), {**SETTINGS, **settings})


def test_a_service_beside_the_hub_is_known_by_its_token_and_not_started() -> None:
    c = Config()
    c.JupyterHub.services = [{"name": "elastic", "api_token": "made-by-the-chart"}]

    configure(c, {**SETTINGS, "service": {"external": True}})

    assert c.JupyterHub.services == [
        {
            "name": "elastic",
            "url": "http://elastic-service:10101",
            "oauth_no_confirm": True,
            "display": True,
            "api_token": "made-by-the-chart",
        }
    ]
    assert SERVICE_ROLE in c.JupyterHub.load_roles


def test_a_service_beside_the_hub_needs_a_token() -> None:
    with pytest.raises(
        SettingsError, match=r"hub\.services\.elastic: \{\} in the values makes one"
    ):
        configure(Config(), {**SETTINGS, "service": {"external": True}})

"""Namespaces of users: whose they are, who may work in them, and where the rights come from."""

from pathlib import Path

import pytest
import yaml

from hub_service.kinds import LABEL_OWNER, LABEL_SERVER
from hub_service.names import safe_label
from hub_service.namespaces import (
    copied_policies,
    gateway_binding,
    is_users,
    kernel_specs_binding,
    labels_of_namespace,
    namespace_of_server,
)

VALUES = Path(__file__).parents[3] / "helm-values"


def namespace(name, owner=None, server=None, **metadata):
    labels = {LABEL_OWNER: owner and safe_label(owner), LABEL_SERVER: server}
    present = {label: value for label, value in labels.items() if value is not None}
    return {"metadata": {"name": name, "labels": present, **metadata}}


ALL = [
    namespace("hub-ada", "ada"),
    namespace("hub-zoe", "zoë"),
    namespace("hub-grace-a", "grace", "a"),
    namespace("hub-grace-b", "grace", "b"),
    namespace("hub-mix", "mix"),
    namespace("hub-mix-a", "mix", "a"),
    namespace("hub-old", "old", deletionTimestamp="2026-01-01T00:00:00Z"),
    namespace("kube-system"),
]


@pytest.mark.parametrize(
    ("user", "server", "expected"),
    [
        ("ada", "", "hub-ada"),
        ("ada", None, "hub-ada"),
        ("zoë", "second", "hub-zoe"),
        ("grace", "b", "hub-grace-b"),
        ("grace", None, None),
        ("grace", "", None),
        ("mix", "a", "hub-mix-a"),
        ("mix", "b", "hub-mix"),
        ("old", "", None),
        ("eve", "", None),
    ],
)
def test_a_server_is_found_by_its_namespaces_labels(user, server, expected):
    assert namespace_of_server(ALL, user, server) == expected


def test_the_labels_that_the_spawner_sets_are_those_that_are_looked_for():
    for template, server, expected in (
        ("hub-{username}", "second", "ns"),
        ("hub-{username}--{servername}", "second", "ns"),
        ("hub-{user_server}", "other", None),
    ):
        made = {"metadata": {"name": "ns", "labels": labels_of_namespace("Zoë", server, template)}}
        assert is_users(made)
        assert namespace_of_server([made], "Zoë", "second") == expected


def test_only_labelled_namespaces_are_looked_after():
    assert [n["metadata"]["name"] for n in ALL if not is_users(n)] == ["hub-old", "kube-system"]
    assert not is_users(None)


def test_bindings_name_the_gateways_accounts():
    body = gateway_binding("hub-ada", ("users", "elastic-gateway"), "elastic-gateway")
    assert body["metadata"]["namespace"] == "hub-ada"
    assert body["roleRef"]["name"] == "elastic-gateway"
    assert body["subjects"] == [
        {"kind": "ServiceAccount", "name": "elastic-gateway", "namespace": "users"}
    ]
    gateways = [
        {"metadata": {"name": "gateway-ada", "namespace": "hub-ada"}},
        {"metadata": {"name": "elastic-gateway", "namespace": "users"}},
        {"metadata": {"name": "gateway-old", "namespace": "hub-old", "deletionTimestamp": "x"}},
    ]
    subjects = kernel_specs_binding("users", gateways)["subjects"]
    assert [s["name"] for s in subjects] == ["gateway-ada"]


def test_policies_are_copied_without_what_the_cluster_noted_on_them():
    policies = [
        {"metadata": {"name": "a", "namespace": "users", "uid": "1"}, "spec": {"podSelector": {}}},
        {"metadata": {"name": "b", "deletionTimestamp": "x"}, "spec": {}},
    ]
    (copy,) = copied_policies(policies, "hub-ada")
    assert copy["metadata"] == {
        "name": "a",
        "namespace": "hub-ada",
        "labels": {"app.kubernetes.io/managed-by": "elastic-hub-service"},
    }
    assert copy["spec"] == {"podSelector": {}}


def test_the_service_has_the_same_rights_in_users_namespaces_but_for_what_is_kept_in_one():
    def rules(file, name):
        for document in yaml.safe_load_all((VALUES / file).read_text()):
            if document["metadata"]["name"] == name and "rules" in document:
                return document["rules"]
        raise AssertionError(name)

    def rights(rules):
        return {
            (group, resource, verb, tuple(rule.get("resourceNames", ())))
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    here = rights(rules("rbac.yaml", "elastic-service"))
    there = rights(rules("rbac-user-namespaces.yaml", "elastic-service-namespaces"))
    more = here - there
    ledger = {"jupyterledgers", "jupyterledgers/status"}
    assert {right[1] for right in more} - ledger == {"secrets", "clusterroles", "leases"}
    assert {right[1] for right in there - here} == {"namespaces", "clusterroles", "networkpolicies"}
    spawner = rights(rules("rbac.yaml", "elastic-spawner"))
    assert spawner <= rights(rules("rbac-user-namespaces.yaml", "elastic-spawner-namespaces"))

"""What gateways may do in users' namespaces, where the settings name another ClusterRole."""

from types import SimpleNamespace

import pytest

from hub_service.kinds import LABEL_MANAGED_BY, LABEL_OWNER, MANAGER
from hub_service.kube import ApiError, Key
from hub_service.kube.store import Store
from hub_service.namespaces import gateway_binding
from hub_service.reconcile.namespaces import NamespaceReconciler

GATEWAY = ("users", "elastic-gateway")
CAN_NOT_CHANGE = {"kind": "Status", "reason": "Invalid", "message": "cannot change roleRef"}
MAY_NOT = {"kind": "Status", "reason": "Forbidden", "message": "may not bind"}


@pytest.fixture
def reconcile(cluster):
    users = Store()
    users.put(
        {"metadata": {"name": "hub-ada", "resourceVersion": "1", "labels": {LABEL_OWNER: "ada"}}}
    )
    reconciler = NamespaceReconciler(
        cluster, users=SimpleNamespace(store=users), gateway=GATEWAY, cluster_role="new"
    )
    return lambda: reconciler.reconcile(Key("", "hub-ada"))


def present(role="old", manager=MANAGER):
    body = gateway_binding("hub-ada", GATEWAY, role)
    body["metadata"] |= {"uid": "u-1", "labels": {LABEL_MANAGED_BY: manager}}
    return body


def calls(api_server):
    return [(method, path.rpartition("/")[2]) for method, path, _, _ in api_server.requests]


async def test_the_binding_is_made_anew(api_server, reconcile):
    api_server.refusals = [(422, CAN_NOT_CHANGE), (200, present())]
    assert await reconcile() is None
    assert calls(api_server) == [
        ("PATCH", "elastic-gateway"),
        ("GET", "elastic-gateway"),
        ("POST", "rolebindings"),
        ("DELETE", "elastic-gateway"),
        ("PATCH", "elastic-gateway"),
    ]
    _, _, query, trial = api_server.requests[2]
    assert query == {"dryRun": "All"}
    assert trial["roleRef"]["name"] == "new"
    assert api_server.requests[3][3]["preconditions"] == {"uid": "u-1"}
    assert api_server.requests[4][3]["roleRef"]["name"] == "new"


async def test_with_a_role_that_may_not_be_bound_it_stays_as_it_is(api_server, reconcile):
    api_server.refusals = [(422, CAN_NOT_CHANGE), (200, present()), (403, MAY_NOT)]
    assert await reconcile() == 60
    assert "DELETE" not in [method for method, _ in calls(api_server)]


@pytest.mark.parametrize("there", [present(manager="helm"), present("new")])
async def test_one_of_somebody_elses_or_refused_for_something_else_stays(
    api_server, reconcile, there
):
    api_server.refusals = [(422, CAN_NOT_CHANGE), (200, there)]
    with pytest.raises(ApiError, match="cannot change roleRef"):
        await reconcile()
    assert [method for method, _ in calls(api_server)] == ["PATCH", "GET"]

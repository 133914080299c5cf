"""The manifests of an installation without a hub say the same as those with one."""

from hub_service import settings
from tests.unit.values.manifests import documents

ALONE, WITH_HUB = documents("standalone.yaml"), documents("rbac.yaml")


def test_the_rights_are_the_same():
    roles = [item for item in ALONE if item[0] in ("Role", "ClusterRole")]
    assert len(roles) == 3
    for role in roles:
        assert ALONE[role]["rules"] == WITH_HUB[role]["rules"]


def test_the_settings_can_be_used_and_the_roles_are_where_they_say():
    text = ALONE["ConfigMap", "elastic-service"]["data"][settings.ENVIRONMENT_VARIABLE]
    parsed = settings.load(text)
    assert not parsed.hub.enabled
    assert not parsed.has_shared_gateway
    for item in (("Role", "elastic-service"), ("RoleBinding", "elastic-service")):
        assert ALONE[item]["metadata"]["namespace"] == parsed.namespace
    deployment = ALONE["Deployment", "elastic-service"]["metadata"]["namespace"]
    (subject,) = ALONE["RoleBinding", "elastic-service"]["subjects"]
    assert subject["namespace"] == deployment

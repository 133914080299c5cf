"""What templates may ask for, and what pods get where theirs says nothing."""

import pytest

from hub_service import settings
from hub_service.kernels import kernel, kernel_status
from hub_service.kinds import NOT_ALLOWED, condition
from hub_service.pods import podsecurity
from hub_service.pods.podsecurity import RESTRICTED, hardened, objection
from tests.unit.service.kernels import NOW, a_kernel

OTHERS_KEY = "kernel-0c9e5b1e-0f6c-4f0e-9d60-2f4f5d1f0a11"


def of_container(**fields):
    return {"containers": [{"name": "kernel", "image": "k", **fields}]}


def of_context(**fields):
    return of_container(securityContext=fields)


def of_volume(**kind):
    return {"volumes": [{"name": "v", **kind}]}


# What a template asks for; reason and field of the refusal; the setting that allows it.
ASKED = [
    (of_volume(hostPath={"path": "/data/x"}), "HostPath", "volumes[v].hostPath.path",
     {"hostPaths": ["/data"]}),
    (of_volume(nfs={"server": "s"}), "Volume", "volumes[v].nfs", {"volumeTypes": ["nfs"]}),
    ({"hostNetwork": True}, "HostNamespace", "hostNetwork", {"hostNamespaces": True}),
    ({"hostPID": True}, "HostNamespace", "hostPID", {"hostNamespaces": True}),
    ({"hostIPC": True}, "HostNamespace", "hostIPC", {"hostNamespaces": True}),
    (of_container(ports=[{"hostPort": 80}]), "HostPort", "containers[kernel].ports.hostPort",
     {"hostPorts": [80]}),
    (of_context(privileged=True), "Privileged", "containers[kernel].securityContext.privileged",
     {"privileged": True}),
    (of_context(allowPrivilegeEscalation=True), "Privileged",
     "containers[kernel].securityContext.allowPrivilegeEscalation", {"privilegeEscalation": True}),
    (of_context(capabilities={"add": ["NET_RAW"]}), "Capability",
     "containers[kernel].securityContext.capabilities.add", {"capabilities": ["NET_RAW"]}),
    (of_context(capabilities={"drop": ["KILL"]}), "Capability",
     "containers[kernel].securityContext.capabilities.drop", {"unconfined": True}),
    (of_context(runAsUser=0), "Root", "containers[kernel].securityContext.runAsUser",
     {"root": True}),
    ({"securityContext": {"runAsNonRoot": False}}, "Root", "securityContext.runAsNonRoot",
     {"root": True}),
    (of_context(seccompProfile={"type": "Unconfined"}), "Unconfined",
     "containers[kernel].securityContext.seccompProfile.type", {"unconfined": True}),
    (of_context(procMount="Unmasked"), "Unconfined",
     "containers[kernel].securityContext.procMount", {"unconfined": True}),
    ({"securityContext": {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}}, "Unconfined",
     "securityContext.sysctls", {"unconfined": True}),
    ({"serviceAccountName": "admin"}, "ServiceAccount", "serviceAccountName",
     {"serviceAccounts": ["admin"]}),
    ({"serviceAccount": "admin"}, "ServiceAccount", "serviceAccount",
     {"serviceAccounts": ["admin"]}),
    ({"initContainers": [{"name": "i", "securityContext": {"privileged": True}}]}, "Privileged",
     "initContainers[i].securityContext.privileged", {"privileged": True}),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "reason", "field", "allowing"), ASKED)
def test_what_is_refused_unless_it_is_allowed_by_value(asked, reason, field, allowing):
    found = objection({"spec": asked}, RESTRICTED)

    assert found is not None
    assert found.reason == f"{reason}NotAllowed"
    assert found.reason in NOT_ALLOWED
    assert found.field == f"spec.{field}"
    assert f"podSecurity.{next(iter(allowing))}" in str(found)
    given = {"gateway": {"image": "g"}, "podSecurity": allowing}
    assert objection({"spec": asked}, settings.parse(given).pod_security.policy()) is None


@pytest.mark.parametrize(
    "asked",
    [
        of_volume(secret={"secretName": OTHERS_KEY}),
        of_volume(projected={"sources": [{"secret": {"name": OTHERS_KEY}}]}),
        of_container(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": OTHERS_KEY}}}]),
        of_container(envFrom=[{"secretRef": {"name": OTHERS_KEY}}]),
    ],
)
def test_another_kernels_key_is_never_read(asked):
    assert objection({"spec": asked}, RESTRICTED).reason == "SecretNotAllowed"
    assert objection({"spec": asked}, RESTRICTED, secret=OTHERS_KEY) is None


def test_a_token_for_the_cluster_only_with_an_allowed_account():
    asked = of_volume(projected={"sources": [{"serviceAccountToken": {"path": "t"}}]})
    allowed = podsecurity.Policy(service_accounts=("trainer",))
    assert objection({"spec": asked}, allowed).reason == "ServiceAccountNotAllowed"
    assert objection({"spec": {**asked, "serviceAccountName": "trainer"}}, allowed) is None


@pytest.mark.parametrize("path", ["/database", "/data/../etc", "data"])
def test_a_folder_beside_an_allowed_one_is_refused(path):
    asked = of_volume(hostPath={"path": path})
    assert objection({"spec": asked}, podsecurity.Policy(host_paths=("/data",))) is not None


def test_what_ordinary_templates_ask_for_is_allowed():
    asked = {
        "serviceAccountName": "default",
        "securityContext": {"fsGroup": 100, "runAsUser": 1000},
        "volumes": [
            {"name": "home", "persistentVolumeClaim": {"claimName": "home"}},
            {"name": "shm", "emptyDir": {"medium": "Memory"}},
            {"name": "key", "secret": {"secretName": "api-key"}},
        ],
        "containers": [
            {
                "name": "kernel",
                "ports": [{"containerPort": 80}],
                "securityContext": {"privileged": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }
    assert objection({"spec": asked}, RESTRICTED) is None


def test_a_pod_that_says_nothing_is_restricted():
    pod = hardened({"initContainers": [{"name": "i"}], "containers": [{"name": "k"}]})
    assert pod["securityContext"] == {"seccompProfile": {"type": "RuntimeDefault"}}
    for container in (*pod["initContainers"], *pod["containers"]):
        assert container["securityContext"] == {
            "runAsNonRoot": True,
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
        }


def test_what_a_pod_says_stands():
    said = {
        "securityContext": {"fsGroup": 5, "seccompProfile": {"type": "Localhost"}},
        "containers": [
            {"name": "root", "securityContext": {"runAsUser": 0}},
            {"name": "lord", "securityContext": {"privileged": True, "runAsUser": 0}},
            {"name": "tracer", "securityContext": {"capabilities": {"add": ["SYS_ADMIN"]}}},
        ],
    }
    pod = hardened(said)
    assert pod["securityContext"] == said["securityContext"]
    root, lord, tracer = (container["securityContext"] for container in pod["containers"])
    assert "runAsNonRoot" not in root
    assert lord == {"privileged": True, "runAsUser": 0}
    # The API server refuses SYS_ADMIN together with false.
    assert "allowPrivilegeEscalation" not in tracer
    assert tracer["capabilities"] == {"add": ["SYS_ADMIN"], "drop": ["ALL"]}


def test_images_that_run_as_root_get_a_user_or_are_let():
    given = {"containers": [{"name": "k"}]}
    (container,) = hardened(given, podsecurity.Policy(run_as_user=1000))["containers"]
    assert container["securityContext"]["runAsUser"] == 1000
    (container,) = hardened(given, podsecurity.Policy(root=True))["containers"]
    assert "runAsNonRoot" not in container["securityContext"]


def test_a_kernel_is_refused_with_the_field_its_value_and_the_way_out():
    item = a_kernel(pod_spec=of_volume(hostPath={"path": "/etc"}))
    found = kernel.refusal_of_template(item, RESTRICTED)
    status = kernel_status.of_refused_template(item, found, NOW)
    refused = {**item, "status": status}

    entry = condition(refused, "TemplateAccepted")
    assert (entry["status"], entry["reason"]) == ("False", "HostPathNotAllowed")
    assert entry["message"] == (
        "spec.volumes[v].hostPath.path ('/etc'): folders of the node are not mounted. Remove it "
        "from the template, or have an administrator set podSecurity.hostPaths: [/etc]."
    )
    assert condition(refused, "Admitted")["reason"] == "TemplateRefused"
    assert status["phase"] == "Refused"
    assert kernel.is_decided(refused)
    assert kernel.is_finished(refused)
    assert not kernel.is_admitted(refused)


def test_a_kernel_mounts_no_secret_but_its_own():
    found = kernel.refusal_of_template(a_kernel(connectionSecret="database"), RESTRICTED)
    assert found.reason == "SecretNotAllowed"
    assert kernel.refusal_of_template(a_kernel(connectionSecret="kernel-1"), RESTRICTED) is None

"""JupyterNotebook: its parts, its Secret and its status."""

import base64
import dataclasses
import json
from datetime import UTC, datetime

import pytest

from hub_service.kinds import DEPLOYMENTS, SERVICES, condition
from hub_service.notebooks import notebook, notebook_tokens
from hub_service.pods.podsecurity import Policy

NOW = datetime(2030, 1, 1, tzinfo=UTC)
DEFAULTS = notebook.Defaults(
    image="notebook:default", image_pull_policy="IfNotPresent", start_timeout=300
)
HASH = "argon2:$argon2id$v=19$m=10240,t=10,p=8$c2FsdA$aGFzaA"


def a_notebook(status=None, **spec):
    return {
        "metadata": {"name": "nb", "namespace": "labs", "uid": "u", "generation": 2},
        "spec": spec,
        "status": status or {},
    }


def a_gateway(namespace="default", notebooks=(), **spec):
    return {
        "metadata": {"name": "gw", "namespace": namespace},
        "spec": spec,
        "status": {"notebooks": list(notebooks)},
    }


def pod_of(item, defaults=DEFAULTS):
    parts = dict(notebook.desired(item, defaults, "41"))
    return parts[DEPLOYMENTS]["spec"]["template"]


def variables(container):
    return {entry["name"]: entry.get("value") for entry in container["env"]}


def secret(item, present=None):
    data = notebook_tokens.secret_data(item, present or {}, "fresh", "other")
    plain = {key: base64.b64decode(value).decode() for key, value in data.items()}
    config = json.loads(plain.pop(notebook_tokens.CONFIG))
    token = config["IdentityProvider"]["token"]
    return plain, token, config["PasswordIdentityProvider"]["hashed_password"]


def test_its_parts_have_its_name_and_go_with_it():
    made = notebook.desired(a_notebook(), DEFAULTS, "41")
    assert [resource for resource, _ in made] == [SERVICES, DEPLOYMENTS]
    for resource, body in made:
        assert (body["kind"], body["apiVersion"]) == (resource.kind, resource.api_version)
        assert (body["metadata"]["name"], body["metadata"]["namespace"]) == ("nb", "labs")
        assert body["metadata"]["ownerReferences"][0]["uid"] == "u"
    service, deployment = (body["spec"] for _, body in made)
    labels = deployment["template"]["metadata"]["labels"]
    assert service["selector"] == deployment["selector"]["matchLabels"]
    assert service["selector"].items() <= labels.items()


def test_an_empty_spec_is_a_server_with_kernels_of_its_own():
    pod = pod_of(a_notebook())
    (container,) = pod["spec"]["containers"]
    assert (container["name"], container["image"]) == ("notebook", "notebook:default")
    assert container["args"][:2] == ["jupyter", "lab"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/api", "port": 8888}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert not [name for name in variables(container) if name.startswith("JUPYTER_GATEWAY")]


def test_the_gateway_and_its_token_by_reference():
    item = a_notebook(gateway={"name": "gw", "namespace": "default"}, owner="ada$(HOME)")
    (container,) = pod_of(item)["spec"]["containers"]
    assert variables(container)["JUPYTER_GATEWAY_URL"] == "http://gw.default:8888"
    assert variables(container)["KERNEL_USERNAME"] == "ada$$(HOME)"
    (token,) = [e for e in container["env"] if e["name"] == "JUPYTER_GATEWAY_AUTH_TOKEN"]
    assert "value" not in token
    assert token["valueFrom"]["secretKeyRef"] == {"name": "nb-tokens", "key": "gatewayToken"}
    own = a_notebook(gateway={"name": "gw"})
    url = variables(pod_of(own)["spec"]["containers"][0])["JUPYTER_GATEWAY_URL"]
    assert url == "http://gw.labs:8888"


def test_what_is_not_allowed_is_refused_and_the_rest_restricted():
    spec = {"hostPID": True, "containers": [{"name": "notebook", "image": "mine"}]}
    with pytest.raises(notebook.NotebookError, match=r"spec.template.spec.hostPID \(True\): .*"):
        pod_of(a_notebook(template={"spec": spec}))
    spec = {**spec, "hostPID": False, "automountServiceAccountToken": True}
    pod = pod_of(a_notebook(template={"spec": spec}))["spec"]
    assert pod["automountServiceAccountToken"] is False
    assert pod["containers"][0]["securityContext"] == {
        "runAsNonRoot": True,
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }


def test_the_template_has_the_last_word():
    template = {
        "metadata": {"app": "lab", "labels": {"team": "a"}, "annotations": {"note": "x"}},
        "spec": {
            "automountServiceAccountToken": True,
            "serviceAccountName": "lab",
            "volumes": [{"name": "home", "emptyDir": {}}],
            "containers": [
                {"name": "sidecar", "image": "sidecar"},
                {
                    "name": "notebook",
                    "image": "mine",
                    "command": ["start.sh"],
                    "env": [
                        {"name": "KERNEL_LAUNCH_TIMEOUT", "value": "5"},
                        {"name": "JUPYTER_CONFIG_PATH", "value": "/mine"},
                    ],
                    "readinessProbe": {"tcpSocket": {"port": 8888}},
                    "securityContext": {"runAsUser": 0, "privileged": True},
                    "ports": [{"name": "web", "containerPort": 8888}],
                    "volumeMounts": [{"name": "home", "mountPath": "/home"}],
                },
            ],
        },
    }
    item = a_notebook(template=template, gateway={"name": "gw"})
    allowed = Policy(privileged=True, root=True, service_accounts=("lab",))
    pod = pod_of(item, dataclasses.replace(DEFAULTS, security=allowed))
    assert {"app": "lab", "team": "a"}.items() <= pod["metadata"]["labels"].items()
    assert pod["metadata"]["annotations"]["note"] == "x"
    assert pod["spec"]["automountServiceAccountToken"] is True
    sidecar, container = pod["spec"]["containers"]
    assert (sidecar["name"], sidecar["image"]) == ("sidecar", "sidecar")
    assert (container["image"], container["command"]) == ("mine", ["start.sh"])
    assert "args" not in container
    assert container["readinessProbe"] == {"tcpSocket": {"port": 8888}}
    assert container["securityContext"] == {"runAsUser": 0, "privileged": True}
    assert [port["name"] for port in container["ports"]] == ["web"]
    assert variables(container)["KERNEL_LAUNCH_TIMEOUT"] == "5"
    folders = variables(container)["JUPYTER_CONFIG_PATH"].split(":")
    assert folders[:2] == ["/mine", notebook_tokens.CONFIG_DIRECTORY]
    assert container["volumeMounts"][0] == {"name": "home", "mountPath": "/home"}


def test_the_given_template_is_not_changed():
    template = {"spec": {"containers": [{"name": "x", "env": [{"name": "A", "value": "1"}]}]}}
    before = json.dumps(template)
    pod_of(a_notebook(template=template))
    assert json.dumps(template) == before


def test_another_secret_gives_another_pod_and_the_same_one_the_same():
    item = a_notebook()
    assert notebook.desired(item, DEFAULTS, "1") == notebook.desired(item, DEFAULTS, "1")
    assert notebook.desired(item, DEFAULTS, "1") != notebook.desired(item, DEFAULTS, "2")


def test_without_any_image_it_says_where_to_name_one():
    alone = notebook.Defaults(image=None, image_pull_policy="Never", start_timeout=1)
    with pytest.raises(notebook.NotebookError, match=r"spec\.template.*notebook\.image"):
        notebook.desired(a_notebook(), alone, "1")


def test_tokens_are_made_up_once():
    plain, token, password = secret(a_notebook())
    assert (plain, token, password) == ({"gatewayToken": "fresh", "token": "other"}, "other", "")
    data = notebook_tokens.secret_data(a_notebook(), {}, "first", "second")
    again = notebook_tokens.secret_data(a_notebook(), data, "third", "fourth")
    assert again == data


@pytest.mark.parametrize(
    ("auth", "token", "password"),
    [
        ({"mode": "disable"}, "", ""),
        ({"mode": "disable", "token": "mine", "password": HASH}, "", ""),
        ({"mode": "enable", "token": "mine"}, "mine", ""),
        ({"token": "mine", "password": HASH}, "mine", HASH),
        ({"mode": "enable", "password": HASH}, "", HASH),
        ({"mode": "enable"}, "other", ""),
    ],
)
def test_who_is_let_in(auth, token, password):
    plain, shown, hashed = secret(a_notebook(auth=auth))
    assert (shown, hashed) == (token, password)
    assert plain.get("token", "") == token


def test_no_token_is_in_the_deployment_or_the_status():
    item = a_notebook(auth={"token": "mine", "password": HASH}, gateway={"name": "gw"})
    digest = notebook_tokens.token_hash("fresh")
    texts = json.dumps([notebook.desired(item, DEFAULTS, "1")[1][1], status_of(item, digest)])
    for word in ("mine", HASH, "fresh"):
        assert f'"{word}"' not in texts


def status_of(item, digest="ab", gateway_item=None, refusal=None):
    return notebook.status(
        item,
        deployment=None,
        gateway_item=gateway_item,
        gateway_token_hash=digest,
        refusal=refusal,
        now=NOW,
    )


def test_status():
    status = status_of(a_notebook(owner="ada"))
    assert (status["url"], status["owner"]) == ("http://nb.labs:8888", "ada")
    assert (status["secretName"], status["gatewayTokenHash"]) == ("nb-tokens", "ab")
    assert status["observedGeneration"] == 2
    assert status_of(a_notebook())["owner"] == "notebook/labs/nb"
    refused = condition({"status": status_of(a_notebook(), refusal="No.")}, "Accepted")
    assert (refused["status"], refused["message"]) == ("False", "No.")


def listed(**more):
    return {
        "name": "nb", "namespace": "labs", "owner": "notebook/labs/nb", "tokenHash": "ab", **more
    }  # fmt: skip


@pytest.mark.parametrize(
    ("reference", "gateway_item", "reason", "words"),
    [
        (None, None, "LocalKernels", "own pod"),
        ("default", None, "GatewayNotFound", "no JupyterGateway gw in the namespace default"),
        ("default", a_gateway(), "NamespaceNotAllowed", "spec.notebookNamespaces"),
        ("default", a_gateway(notebookNamespaces=["labs"]), "Waiting", "being told"),
        ("default", a_gateway(notebooks=[listed(tokenHash="old")], notebookNamespaces=["*"]),
         "Waiting", "being told"),
        ("default", a_gateway(notebooks=[listed()], notebookNamespaces=["*"]), "Accepted", "takes"),
        (None, a_gateway("labs", [listed()]), "Accepted", "takes"),
    ],
)  # fmt: skip
def test_what_is_said_of_the_gateway(reference, gateway_item, reason, words):
    spec = {}
    if gateway_item is not None or reference is not None:
        spec["gateway"] = {"name": "gw", **({"namespace": reference} if reference else {})}
    item = a_notebook({"gatewayTokenHash": "ab"}, **spec)
    entry = condition({"status": status_of(item, gateway_item=gateway_item)}, "GatewayAccepted")
    assert entry["reason"] == reason
    assert (entry["status"] == "True") == (reason in ("Accepted", "LocalKernels"))
    assert words in entry["message"]


def test_a_gateway_lists_who_names_it_and_may():
    named = {"gateway": {"name": "gw", "namespace": "default"}}
    ready = a_notebook({"gatewayTokenHash": "ab"}, **named)
    without_token = a_notebook(**named)
    elsewhere = a_notebook({"gatewayTokenHash": "cd"}, gateway={"name": "gw"})
    going = a_notebook({"gatewayTokenHash": "ef"}, **named)
    going["metadata"]["deletionTimestamp"] = "2030-01-01T00:00:00Z"
    notebooks = [ready, without_token, elsewhere, going]
    assert notebook.callers(a_gateway(notebookNamespaces=["labs"]), notebooks) == (listed(),)
    assert notebook.callers(a_gateway(), notebooks) == ()

"""What the client sends, and what it makes of answers."""

import asyncio

import pytest
from kubernetes_asyncio.client import Configuration

from hub_service.kube import ApiError, Cluster, ConfigurationError
from hub_service.kube.connections import proxy


async def test_requests(api_server, cluster, thing):
    await cluster.create(thing, "ns", {"spec": {"text": "ü"}})
    await cluster.get(thing, "ns", "a")
    await cluster.delete(thing, "ns", "a", uid="u1", grace_period=0)
    await cluster.merge_patch(thing, "ns", "a", {"status": {"x": None}}, subresource="status")
    await cluster.apply(thing, "ns", "a", {"kind": "Thing"}, field_manager="me", force=False)
    await cluster.list(thing, None, label_selector="a=b")
    root = "/apis/test.example/v1"
    assert api_server.requests == [
        ("POST", f"{root}/namespaces/ns/things", {}, {"spec": {"text": "ü"}}),
        ("GET", f"{root}/namespaces/ns/things/a", {}, {}),
        (
            "DELETE",
            f"{root}/namespaces/ns/things/a",
            {},
            {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": "Background",
                "preconditions": {"uid": "u1"},
                "gracePeriodSeconds": 0,
            },
        ),
        ("PATCH", f"{root}/namespaces/ns/things/a/status", {}, {"status": {"x": None}}),
        (
            "PATCH",
            f"{root}/namespaces/ns/things/a",
            {"fieldManager": "me", "force": "false"},
            {"kind": "Thing"},
        ),
        ("GET", f"{root}/things", {"labelSelector": "a=b"}, {}),
    ]


async def test_a_refusal_has_the_servers_words(api_server, cluster, thing):
    api_server.refusals = [
        (404, {"kind": "Status", "reason": "NotFound", "message": 'things "a" not found'})
    ]
    with pytest.raises(ApiError) as refused:
        await cluster.get(thing, "ns", "a")
    assert (refused.value.status, refused.value.reason) == (404, "NotFound")
    assert refused.value.message == 'things "a" not found'


async def test_a_refusal_that_is_no_status(api_server, cluster, thing):
    api_server.refusals = [(502, {"error": "bad gateway"})]
    with pytest.raises(ApiError, match="bad gateway") as refused:
        await cluster.get(thing, "ns", "a")
    assert refused.value.status == 502


async def test_no_answer_in_time(api_server, thing):
    async def never(_request):
        await asyncio.Event().wait()

    async with Cluster.from_environment(request_timeout=0.1) as cluster:
        api_server._watch = never
        with pytest.raises(ApiError) as unanswered:
            await cluster._request("GET", "/x", query={"watch": "true"})
    assert (unanswered.value.status, unanswered.value.reason) == (0, "Timeout")


async def test_nobody_there(monkeypatch, tmp_path, thing):
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(
        '{"clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],'
        ' "users": [{"name": "u", "user": {"token": "the-token"}}], "current-context": "x",'
        ' "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}]}'
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    async with Cluster.from_environment() as cluster:
        with pytest.raises(ApiError) as unanswered:
            await cluster.get(thing, "ns", "a")
    assert (unanswered.value.status, unanswered.value.reason) == (0, "Unreachable")
    assert "the-token" not in str(unanswered.value)


async def test_no_kubeconfig(monkeypatch, tmp_path):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "missing"))
    with pytest.raises(ConfigurationError, match="KUBECONFIG"):
        async with Cluster.from_environment():
            pass


async def test_in_a_pod_without_service_account(monkeypatch):
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "198.51.100.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "443")
    with pytest.raises(ConfigurationError, match="token file"):
        async with Cluster.from_environment():
            pass


@pytest.mark.parametrize(
    ("variables", "of_kubeconfig", "expected"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://p:1"}, None, "http://p:1"),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "api.example"}, None, None),
        ({"HTTPS_PROXY": "http://p:1"}, "http://k:2", "http://k:2"),
        ({"HTTP_PROXY": "http://p:1"}, None, None),
    ],
)
def test_the_proxy(monkeypatch, variables, of_kubeconfig, expected):
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    configuration = Configuration()
    configuration.host, configuration.proxy = "https://api.example:6443", of_kubeconfig
    assert proxy(configuration) == expected

"""Every URL of the gateway: who may, and what others see of it."""

from __future__ import annotations

import asyncio
import json
import time
from datetime import UTC, datetime

import pytest
from tornado.httpclient import HTTPClientError

from elastic_spawner.gateway.handlers import ROUTES
from hub_service.hub import server_stops
from hub_service.hub.server_stops import Stop, with_new
from hub_service.kinds import JUPYTER_GATEWAYS, JUPYTER_KERNEL_SPECS
from tests.gateway.conftest import Gateway, free_port, resource, spec
from tests.gateway.support import Client

pytestmark = pytest.mark.asyncio(loop_scope="session")

SOME_ID = "00000000-0000-4000-8000-000000000000"


async def test_another_users_kernel_is_as_if_it_were_not_there(gateway: Gateway) -> None:
    alice, mallory = gateway.client("alice"), gateway.client("mallory")
    kernel = await alice.start()
    url = f"/api/kernels/{kernel}"

    assert [m["id"] for m in (await alice.request("GET", "/api/kernels")).body] == [kernel]
    assert (await mallory.request("GET", "/api/kernels")).body == []
    for method, path in (
        ("GET", url),
        ("DELETE", url),
        ("POST", f"{url}/interrupt"),
        ("POST", f"{url}/restart"),
    ):
        answer = await mallory.request(method, path)
        assert answer.status == 404, (method, path)
    with pytest.raises(HTTPClientError) as refusal:
        async with mallory.channels(kernel):
            pass
    assert refusal.value.code == 404
    assert refusal.value.response is not None
    assert json.loads(refusal.value.response.body)["reason"] == "NoSuchKernel"

    async with alice.channels(kernel) as channels:
        assert await channels.run("print('undisturbed')") == "undisturbed\n"
    await alice.request("DELETE", url)


@pytest.mark.parametrize("pattern", [route[0] for route in ROUTES if route[0] != "/api/health"])
async def test_nothing_is_served_without_a_token(gateway: Gateway, pattern: str) -> None:
    path = pattern.replace("(?P<kernel_id>[0-9a-fA-F-]{36})", SOME_ID)
    path = path.replace("(?P<name>[^/]+)", "python").replace(".*", "/api/sessions")
    stranger = Client(gateway.url, None)
    liar = Client(gateway.url, "no-such-token")
    for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        assert (await stranger.request(method, path)).status in (401, 405), method
        assert (await liar.request(method, path)).status in (403, 405), method


# What Enterprise Gateway, jupyter_server and tornado serve by default.
OF_OTHERS = [
    "/", "/api", "/api/", "/api/swagger.json", "/api/swagger.yaml", "/api/sessions",
    f"/api/sessions/{SOME_ID}", "/api/status", "/api/contents", "/api/contents/x", "/api/config/x",
    "/api/me", "/api/shutdown", "/api/terminals", "/api/security/csp-report", "/api/nbconvert",
    "/api/kernels/", f"/api/kernels/{SOME_ID}/x", "/api/kernels/../status", "//api/kernels",
    "/kernelspecs/python/logo-64x64.png", "/files/x", "/nbconvert/x", "/terminals/websocket/1",
    "/login", "/logout", "/metrics", "/static/x", "/static/../app.py", "/favicon.ico",
    "/robots.txt",
]  # fmt: skip


@pytest.mark.parametrize("path", OF_OTHERS)
async def test_nothing_of_others_is_mounted_beside_it(gateway: Gateway, path: str) -> None:
    assert (await Client(gateway.url, None).request("GET", path)).status == 401
    assert (await gateway.client("alice").request("GET", path)).status == 404


async def test_a_stopped_servers_token_is_refused_at_once_and_its_websockets_end(
    gateway: Gateway,
) -> None:
    leaving, staying = gateway.client("leaving"), gateway.client("staying")
    kernel, other = await leaving.start(), await staying.start()
    url = f"/api/kernels/{kernel}"
    async with leaving.channels(kernel) as channels, staying.channels(other) as others:
        assert await channels.run("print(1)") == "1\n"
        del gateway.hub.models["token-of-" + b"leaving".hex()]
        stops = with_new([], Stop("1", "leaving", datetime.now(UTC)))
        body = {"metadata": {"annotations": {server_stops.ANNOTATION: server_stops.text(stops)}}}
        await gateway.cluster.merge_patch(JUPYTER_GATEWAYS, gateway.namespace, "shared", body)
        began = time.monotonic()
        async with asyncio.timeout(5):
            assert await channels.closed() == 1008
        print(f"a websocket was closed {time.monotonic() - began:.3f} s after its server's stop")
        assert (await leaving.request("GET", url)).status == 403
        assert await others.run("print(2)") == "2\n"
    gateway.client("leaving")
    await leaving.request("DELETE", url)
    await staying.request("DELETE", f"/api/kernels/{other}")


async def test_a_body_that_is_too_large_is_not_read(gateway: Gateway) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    writer.write(b"POST /api/kernels HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n")
    async with asyncio.timeout(5):
        assert b" 400 " in await reader.readline()
    writer.close()


@pytest.mark.parametrize("body", [[], {"name": 5}, {"env": []}, {"env": {"KERNEL_COLOUR": 7}}])
async def test_a_body_that_is_none_is_told_so(gateway: Gateway, body: object) -> None:
    answer = await gateway.client("alice").request("POST", "/api/kernels", body)
    assert (answer.status, answer.body["reason"]) == (400, "BadRequest")


async def test_specs_come_change_and_go(gateway: Gateway) -> None:
    alice, cluster, namespace = gateway.client("alice"), gateway.cluster, gateway.namespace

    listed = (await alice.request("GET", "/api/kernelspecs?user=alice")).body
    assert listed["default"] == "python"
    assert listed["kernelspecs"]["python"]["spec"]["display_name"] == "Python"
    assert (await alice.request("GET", "/api/kernelspecs/other")).status == 404

    await cluster.create(JUPYTER_KERNEL_SPECS, namespace, spec("other", displayName="Other"))
    await shown(alice, "Other")
    await cluster.merge_patch(
        JUPYTER_KERNEL_SPECS, namespace, "other", {"spec": {"displayName": "Another"}}
    )
    await shown(alice, "Another")
    await cluster.delete(JUPYTER_KERNEL_SPECS, namespace, "other")
    await shown(alice, None)


async def shown(client: Client, title: str | None) -> None:
    """Within two seconds the spec `other` has that title, or is gone."""
    async with asyncio.timeout(2):
        while True:
            specs = (await client.request("GET", "/api/kernelspecs")).body["kernelspecs"]
            found = specs["other"]["spec"]["display_name"] if "other" in specs else None
            if found == title:
                return


@pytest.mark.parametrize("name", ["alice", "a@b.org", "a&b"])
async def test_one_spec_as_notebooks_with_a_user_name_ask_for_it(
    gateway: Gateway, name: str
) -> None:
    person = gateway.client(name)
    answer = await person.request("GET", f"/api/kernelspecs?user={name}/python")
    assert (answer.status, answer.body["name"]) == (200, "python")
    assert (await person.request("GET", f"/api/kernelspecs?user={name}/none")).status == 404


async def test_an_unknown_spec_is_named_with_those_there_are(gateway: Gateway) -> None:
    answer = await gateway.client("alice").request("POST", "/api/kernels", {"name": "julia"})
    assert (answer.status, answer.body["reason"]) == (404, "NoSuchKernelSpec")
    assert "python" in answer.body["message"]


async def test_a_spec_that_cannot_start_says_why(gateway: Gateway) -> None:
    await gateway.cluster.create(
        JUPYTER_KERNEL_SPECS, gateway.namespace, spec("orphan", template={"name": "nowhere"})
    )
    alice = gateway.client("alice")
    await shown_in_list(alice, "orphan")
    answer = await alice.request("POST", "/api/kernels", {"name": "orphan"})
    assert (answer.status, answer.body["reason"]) == (422, "InvalidKernelSpec")
    assert "nowhere" in answer.body["message"]
    await gateway.cluster.delete(JUPYTER_KERNEL_SPECS, gateway.namespace, "orphan")


async def shown_in_list(client: Client, name: str) -> None:
    async with asyncio.timeout(2):
        while name not in (await client.request("GET", "/api/kernelspecs")).body["kernelspecs"]:
            pass


async def test_a_users_own_gateway_serves_nobody_else(gateway: Gateway) -> None:
    own = Gateway(
        free_port(), gateway.namespace, gateway.hub, gateway.kernels, gateway.cluster,
        name="gateway-alice",
    )  # fmt: skip
    body = resource("gateway-alice", owner="alice")
    await gateway.cluster.create(JUPYTER_GATEWAYS, gateway.namespace, body)
    await own.start()
    try:
        mallory = own.client("mallory")
        for method, path in (("GET", "/api/kernels"), ("GET", "/api/kernelspecs")):
            answer = await mallory.request(method, path)
            assert (answer.status, answer.body["reason"]) == (403, "NotTheOwner")
            assert "alice" in answer.body["message"]
        with pytest.raises(HTTPClientError) as refusal:
            async with mallory.channels(SOME_ID):
                pass
        assert refusal.value.code == 403

        assert (await own.client("alice").request("GET", "/api/kernels")).body == []
        cull = f"/api/kernels/{SOME_ID}/cull"
        idle_before = {"idle_before": "2026-01-01T00:00:00Z"}
        assert (await own.service().request("POST", cull, idle_before)).status == 404
    finally:
        await own.stop()

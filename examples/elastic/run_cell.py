"""Runs one cell on a new kernel of the notebook server that it runs beside, as a browser would.

    kubectl exec -i deploy/NOTEBOOK -- python - SPEC CODE < run_cell.py

For a server with `auth.mode: disable`. Prints what the cell printed; the kernel stays.
"""

import asyncio
import json
import re
import sys
import uuid

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.websocket import websocket_connect

SERVER = "http://127.0.0.1:8888"


async def main(spec: str, code: str) -> None:
    http = AsyncHTTPClient()
    page = await http.fetch(f"{SERVER}/lab")
    xsrf = re.search(r"_xsrf=([^;]+)", page.headers["Set-Cookie"])
    assert xsrf
    headers = {"Cookie": xsrf[0], "X-XSRFToken": xsrf[1]}
    body = json.dumps({"name": spec})
    request = HTTPRequest(f"{SERVER}/api/kernels", "POST", headers, body, request_timeout=300)
    kernel = json.loads((await http.fetch(request)).body)["id"]
    print("kernel", kernel)
    url = f"{SERVER.replace('http', 'ws')}/api/kernels/{kernel}/channels"
    socket = await websocket_connect(HTTPRequest(url, headers=headers))
    message = {
        "channel": "shell",
        "header": {"msg_id": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.3"},
        "parent_header": {},
        "metadata": {},
        "content": {"code": code, "silent": False, "allow_stdin": False},
    }
    await socket.write_message(json.dumps(message))
    done = False
    while not done:
        answer = json.loads(await socket.read_message())
        if answer["parent_header"].get("msg_id") != message["header"]["msg_id"]:
            continue
        if answer["msg_type"] == "stream":
            print(answer["content"]["text"], end="")
        done = answer["content"].get("execution_state") == "idle"  # after all that was printed
    socket.close()


asyncio.run(main(*sys.argv[1:]))

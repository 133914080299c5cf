"""A kernel's websocket, and messages that are not as they ought to be; nothing is connected."""

from __future__ import annotations

import json
import logging
from types import SimpleNamespace
from typing import Any

import pytest
from jupyter_client.session import Session
from tornado.websocket import WebSocketClosedError

from elastic_spawner.gateway.channels import ChannelsHandler
from elastic_spawner.gateway.kernel_resource import Ending

ENDED = Ending("Error", "It ended.")
CELL = {"msg_type": "execute_request", "msg_id": "a"}


class Handler(ChannelsHandler):
    """A websocket that keeps what is written to it."""

    log = logging.getLogger("tests")

    def __init__(self, ended: Ending | None = None) -> None:  # not tornado's: there is no request
        self.session = Session(key=b"")
        self.channels: dict[str, Any] = {}
        self.kernel_id = "an-id"
        self.manager: Any = SimpleNamespace(ended=ended)
        self.written: list[dict[str, Any]] = []
        self._holding = None

    @property
    def subprotocol(self) -> str:
        return ""

    def write_message(self, message: Any, binary: bool = False) -> Any:
        assert not binary
        self.written.append(json.loads(message))


class Broken:
    """An iopub channel whose last message can't be passed on."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def closed(self) -> bool:
        return False

    def flush(self) -> None:
        raise self.error


@pytest.mark.parametrize("header", [{"msg_type": "execute_request"}, {"msg_id": 1}, [], None])
def test_a_message_without_an_id_is_left_out(header: Any, caplog: pytest.LogCaptureFixture) -> None:
    handler = Handler(ENDED)
    message = {"channel": "shell", "content": {}}
    handler.on_message(json.dumps({**message, "header": header}))
    assert handler.written == []
    assert "without an id" in caplog.text
    handler.on_message(json.dumps({**message, "header": CELL}))
    assert handler.written[0]["content"]["text"] == "It ended.\n"


@pytest.mark.parametrize("error", [WebSocketClosedError(), KeyError("msg_type")])
@pytest.mark.parametrize("cell", [CELL, {"msg_type": "execute_request"}, {}])
def test_an_end_is_told_whatever_the_kernel_has_said_before(
    error: Exception, cell: dict[str, Any]
) -> None:
    handler = Handler()
    handler.channels["iopub"] = Broken(error)
    handler.tell_ended("It ended.", cell)
    assert handler.written[0]["parent_header"] == cell
    assert handler.written[0]["content"]["text"] == "It ended.\n"

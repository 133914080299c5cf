"""Frames as jupyter_server's own code writes and reads them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.session import Session
from jupyter_server.services.kernels.connection.base import (
    deserialize_msg_from_ws_v1,
    serialize_msg_to_ws_v1,
)

from elastic_spawner.jobs.messages import decode, encode

SESSION = Session()


def test_what_is_sent_is_what_the_other_side_writes_itself():
    message = SESSION.msg("execute_request", {"code": "print('ä')"})
    assert encode("shell", message) == serialize_msg_to_ws_v1(message, "shell", SESSION.pack)


@given(st.text(), st.lists(st.binary(), max_size=3))
def test_what_the_other_side_reads_of_it(text, buffers):
    message = SESSION.msg("comm_msg", {"data": text}, metadata={"a": 1}) | {"buffers": buffers}
    channel, parts = deserialize_msg_from_ws_v1(encode("shell", message))
    assert channel == "shell"
    assert SESSION.unpack(parts[3]) == {"data": text}
    assert parts[4:] == buffers


@given(st.text(), st.lists(st.binary(), max_size=3))
def test_reading_what_the_other_side_writes(text, buffers):
    parent = SESSION.msg("execute_request")
    message = SESSION.msg("stream", {"text": text}, parent=parent)
    parts = [SESSION.pack(message[k]) for k in ("header", "parent_header", "metadata", "content")]
    channel, got = decode(serialize_msg_to_ws_v1([*parts, *buffers], "iopub"))
    assert channel == "iopub"
    assert got["content"] == {"text": text}
    assert got["msg_type"] == "stream"
    assert got["parent_header"]["msg_id"] == parent["header"]["msg_id"]
    assert got["header"]["date"] == message["header"]["date"]
    assert [bytes(buffer) for buffer in got["buffers"]] == buffers


@pytest.mark.parametrize("frame", [b"", b"{}", b"\xff" * 20])
def test_anything_else_is_refused(frame):
    with pytest.raises(ValueError, match="no Jupyter message"):
        decode(frame)

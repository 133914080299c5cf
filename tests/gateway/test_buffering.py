"""What a kernel says while no client is connected."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import zmq
from jupyter_client.session import Session
from zmq.eventloop.zmqstream import ZMQStream

from elastic_spawner.gateway.buffering import MOST, Buffer
from elastic_spawner.gateway.kernels import ElasticMappingKernelManager

SESSION = Session(key=b"a key")
CELL = {"msg_type": "execute_request", "msg_id": "a"}


def says(kind: str, content: dict[str, Any]) -> list[bytes]:
    message = SESSION.msg(kind, content)
    message["parent_header"] = CELL
    frames: list[bytes] = SESSION.serialize(message, ident=b"topic")
    return frames


PRINTS = says("stream", {"name": "stdout", "text": "x" * 100_000})
DONE = says("status", {"execution_state": "idle"})
REPLY = says("execute_reply", {"status": "ok"})


def size(messages: list[tuple[str, list[bytes]]]) -> int:
    return sum(len(frame) for _, frames in messages for frame in frames)


def test_all_is_kept_that_fits() -> None:
    messages: list[tuple[str, list[bytes]]] = []
    buffer = Buffer(SESSION, messages)
    said = [("iopub", PRINTS), ("shell", REPLY), ("iopub", DONE), ("iopub", [b"no message"])]
    assert all(buffer.take(*one) for one in said)
    assert messages == said


def test_of_a_flood_the_end_is_kept_and_what_was_lost_is_told() -> None:
    messages: list[tuple[str, list[bytes]]] = []
    buffer = Buffer(SESSION, messages)
    assert all(buffer.take("iopub", PRINTS) for _ in range(3 * MOST // 100_000))
    assert buffer.take("shell", REPLY)
    assert buffer.take("iopub", DONE)
    assert buffer.take("iopub", [b"no message"])
    assert size(messages) < 1.01 * MOST
    assert messages[-2:] == [("shell", REPLY), ("iopub", DONE)]
    channel, frames = messages[-3]
    told = SESSION.deserialize(SESSION.feed_identities(frames)[1])
    assert (channel, told["msg_type"], told["parent_header"]["msg_id"]) == ("iopub", "stream", "a")
    assert "lost" in told["content"]["text"]


def test_not_even_ends_are_kept_for_ever() -> None:
    messages: list[tuple[str, list[bytes]]] = []
    buffer = Buffer(SESSION, messages)
    answers = (buffer.take("iopub", DONE) for _ in range(MOST))
    assert not all(answers)
    assert size(messages) < 1.3 * MOST


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110 - sockets tell of neither
            await asyncio.sleep(0.01)


async def test_a_kernels_channels_are_closed_where_no_more_is_kept() -> None:
    """The manager of all kernels with a real channel; of the kernel there is only that."""
    context = zmq.Context()
    kernel, client = context.socket(zmq.PUSH), context.socket(zmq.PULL)
    client.connect(f"tcp://127.0.0.1:{kernel.bind_to_random_port('tcp://127.0.0.1')}")
    stream = ZMQStream(client)
    kernels: Any = ElasticMappingKernelManager.__new__(ElasticMappingKernelManager)
    kernels._kernels = {"an-id": SimpleNamespace(reachable=True, session=SESSION)}
    kernels.start_buffering("an-id", "session", {"iopub": stream})
    try:
        kernel.send_multipart(DONE)
        await until(lambda: kernels._kernel_buffers["an-id"]["buffer"] == [("iopub", DONE)])
        kernel.send_multipart(says("status", {"padding": "x" * 2 * MOST}))
        await until(stream.closed)
        assert kernels.get_buffer("an-id", "session") is None
    finally:
        stream.close()
        kernel.close(0)
        context.term()

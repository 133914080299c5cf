"""Keys of kernels: what their connection file has, and what sockets do with them."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Iterator

import pytest
import zmq
from zmq.asyncio import Context

from elastic_spawner.gateway import adoption, keys
from elastic_spawner.gateway.kernel_resource import connection_info
from elastic_spawner.gateway.probe import heartbeat
from hub_service.kinds import CONNECTION_KEY


@pytest.fixture
def shared() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    yield context
    context.destroy(linger=0)


def test_each_kernel_has_its_own() -> None:
    plain, encrypted = keys.new(encrypted=False), keys.new(encrypted=True)
    assert set(plain) == {"key"}
    assert set(encrypted) == set(keys.FIELDS)
    assert len(plain["key"]) == 64
    assert plain["key"] != keys.new(encrypted=False)["key"]


@pytest.mark.parametrize("encrypted", [False, True])
def test_they_are_found_again_in_the_secret(encrypted: bool) -> None:
    made = keys.new(encrypted=encrypted)
    content = json.dumps(connection_info("0.0.0.0", made)).encode()
    secret = {"data": {CONNECTION_KEY: base64.b64encode(content).decode()}}
    assert adoption.keys_of(secret) == made


async def test_an_encrypted_kernel_answers_only_who_has_its_keys(
    shared: zmq.Context[zmq.Socket[bytes]],
) -> None:
    made, others = keys.new(encrypted=True), keys.new(encrypted=True)
    kernel = Context.shadow(shared.underlying).socket(zmq.ROUTER)
    kernel.curve_server = True
    kernel.curve_publickey = made["curve_publickey"].encode()
    kernel.curve_secretkey = made["curve_secretkey"].encode()
    port = kernel.bind_to_random_port("tcp://127.0.0.1")

    async def echo() -> None:
        while True:
            await kernel.send_multipart(await kernel.recv_multipart())

    echoing = asyncio.create_task(echo())
    try:
        for wrong in (keys.new(encrypted=False), others):
            stranger = keys.context_of_kernel(shared)
            keys.use(stranger, wrong)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(heartbeat(stranger, "127.0.0.1", port), 0.5)
        gateway = keys.context_of_kernel(shared)
        keys.use(gateway, made)
        await asyncio.wait_for(heartbeat(gateway, "127.0.0.1", port), 10)
    finally:
        echoing.cancel()
        await asyncio.gather(echoing, return_exceptions=True)
        kernel.close(linger=0)

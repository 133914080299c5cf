"""Which notebooks a kernel runs for is kept with it, and told to its owner's next server."""

from __future__ import annotations

from typing import Any

import pytest

from elastic_spawner.gateway.sessions import annotation, sessions_of
from hub_service.kinds import ANNOTATION_SESSIONS
from tests.gateway.conftest import Gateway

on_gateway = pytest.mark.asyncio(loop_scope="session")
SESSION = {"id": "1-2-3-4-5", "path": "café/digits.ipynb", "name": "digits", "type": "notebook"}


@on_gateway
async def test_the_next_server_is_told(gateway: Gateway) -> None:
    client, other = gateway.client("ada"), gateway.client("grace")
    kernel = await client.start()
    url = f"/api/kernels/{kernel}/sessions"

    assert (await client.request("PUT", url, {"sessions": [SESSION]})).status == 204

    def kept(item: Any) -> bool:
        return bool(sessions_of(item))

    await gateway.kernels.until(kernel, kept)
    model = (await client.request("GET", f"/api/kernels/{kernel}")).body
    assert model["server"] == ""
    assert model["sessions"] == [SESSION]

    assert (await other.request("PUT", url, {"sessions": []})).status == 404
    refused = await client.request("PUT", url, {"sessions": [{"id": 5}]})
    assert refused.status == 400
    assert refused.body["message"] == "sessions[0].id must be a string."
    await client.request("DELETE", f"/api/kernels/{kernel}")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "sessions must be a list"),
        ({"sessions": ["x"]}, r"sessions\[0\] must be an object"),
        ({"sessions": [SESSION | {"path": "x" * 40_000}]}, "not be longer than"),
    ],
)
def test_what_is_not_kept(body: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        annotation(body)


def test_what_others_wrote_is_no_session() -> None:
    for text in ("", "{", "5", '["x"]', '[{"id": 5}]'):
        assert sessions_of({"metadata": {"annotations": {ANNOTATION_SESSIONS: text}}}) == []
    assert sessions_of(None) == []
    assert sessions_of({"metadata": {}}) == []

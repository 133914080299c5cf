"""What a gateway reads from its own JupyterGateway, and whom it knows by it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest

from elastic_spawner.gateway.authentication import Authenticator, HubAuthenticator
from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.gateway_resource import GatewayResource, Offer, read
from elastic_spawner.gateway.identity import Identity
from hub_service.kinds import JUPYTER_GATEWAYS, Object
from hub_service.kube import Reflector
from tests.gateway.support import StandInHub, server_model

TOKEN, SERVICE_TOKEN = "token-of-a-notebook", "token-of-the-service"


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


GATEWAY = {
    "metadata": {"name": "shared", "namespace": "users", "resourceVersion": "1"},
    "spec": {
        "kernels": ["python", "r"],
        "defaultKernel": "r",
        "startTimeout": 20,
        "startAnswerAfter": 0,
        "logLevel": "DEBUG",
    },
    "status": {
        "notebooks": [
            {"name": "nb", "namespace": "labs", "owner": "ada", "tokenHash": digest(TOKEN)}
        ],
        "serviceTokenHash": digest(SERVICE_TOKEN),
    },
}
NOTEBOOK = Identity("ada", notebook=("labs", "nb"))


def a_resource() -> tuple[GatewayResource, Reflector]:
    cache = Reflector(None, JUPYTER_GATEWAYS, "users")  # type: ignore[arg-type]  # never run
    return GatewayResource(cache, "elastic"), cache


def version(number: int, **spec: object) -> Object:
    metadata = {**GATEWAY["metadata"], "resourceVersion": str(number)}
    return {**GATEWAY, "metadata": metadata, "spec": spec}


def test_all_fields_are_read() -> None:
    offer = read(GATEWAY, "elastic")
    assert offer.kernels == {"python", "r"}
    assert (offer.default_kernel, offer.start_timeout, offer.log_level) == ("r", 20.0, "DEBUG")
    assert (offer.answer_after, offer.grace) == (0.0, None)
    assert offer.callers == {
        digest(TOKEN): NOTEBOOK,
        digest(SERVICE_TOKEN): Identity("elastic", is_service=True),
    }


def test_an_empty_one_offers_everything_to_nobody_in_particular() -> None:
    assert read({"metadata": {}}, "elastic") == Offer()


def test_changes_are_told_once_and_a_deleted_one_stays_as_it_was() -> None:
    resource, cache = a_resource()
    told: list[Offer] = []
    resource.subscribe(told.append)
    cache.record(version(1, logLevel="DEBUG"))
    cache.record(version(2, logLevel="DEBUG"))
    cache.record(version(3, logLevel="WARNING"))
    assert [offer.log_level for offer in told] == ["DEBUG", "WARNING"]
    for change in cache.store.replace([], "9"):
        resource._on_change(*change)
    assert resource.current.log_level == "WARNING"


@pytest.fixture
async def hub() -> AsyncIterator[StandInHub]:
    async with StandInHub({"of-the-hub": server_model("grace")}).serving() as hub:
        yield hub


async def test_listed_callers_come_before_the_hub_is_asked(hub: StandInHub) -> None:
    authenticator = Authenticator(
        read(GATEWAY, "elastic").callers.get, HubAuthenticator(hub.url, "elastic")
    )
    assert await authenticator.authenticate(f"token {TOKEN}") == NOTEBOOK
    assert (await authenticator.authenticate(f"token {SERVICE_TOKEN}")).is_service
    assert hub.asked == []
    assert await authenticator.authenticate("token of-the-hub") == Identity("grace", "")
    authenticator.close()


@pytest.mark.parametrize(("header", "status"), [("token other", 403), (None, 401)])
async def test_without_a_hub_nobody_else_comes_in(header: str | None, status: int) -> None:
    authenticator = Authenticator(read(GATEWAY, "elastic").callers.get, None)
    assert await authenticator.authenticate(f"token {TOKEN}") == NOTEBOOK
    with pytest.raises(KernelError) as refusal:
        await authenticator.authenticate(header)
    assert refusal.value.status == status
    authenticator.close()

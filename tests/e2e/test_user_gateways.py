"""Gateways of one's own: there while a server is, for nobody else, as the profile wants them."""

from __future__ import annotations

import aiohttp
import pytest

from demo.client import RequestFailedError
from demo.observe import watching
from hub_service.kinds import JUPYTER_GATEWAYS, SERVICES, spec_of
from hub_service.kube.client import Cluster
from tests.e2e.support import House

SECONDS = 60.0


@pytest.mark.per_user
async def test_it_is_there_while_a_server_is_and_for_nobody_else(
    house: House, cluster: Cluster, adas_gateway: tuple[str, str]
) -> None:
    grace = await house.open("grace")
    ada, log = await house.start_anew("ada")
    assert "gateway: starting" in log
    assert any(line.startswith("gateway: ready after") for line in log), log

    namespace, name = adas_gateway
    async with watching(cluster, JUPYTER_GATEWAYS, namespace) as gateways:
        assert spec_of(gateways.store.get(adas_gateway) or {})["owner"] == "ada"
        service = await cluster.get(SERVICES, namespace, name)
        url = f"http://{service['spec']['clusterIP']}:8888/api/kernelspecs"
        for person, expected in ((ada, 200), (grace, 403)):
            headers = {"Authorization": f"token {await person.api_token()}"}
            async with (
                aiohttp.ClientSession(headers=headers) as session,
                session.get(url) as response,
            ):
                assert response.status == expected, await response.text()

        house.stack.push_async_callback(ada.stop_server, server="second")
        await ada.start_server(server="second")
        await ada.stop_server()
        assert gateways.store.get(adas_gateway) is not None, "the second server has it too"
        await ada.stop_server(server="second")
        await gateways.wait_for(adas_gateway, lambda item: item is None, SECONDS)


async def test_a_profile_chooses_the_kernels_that_its_server_offers(house: House) -> None:
    ada = await house.open("ada")
    house.stack.push_async_callback(ada.stop_server, server="small")
    await ada.start_server(server="small", profile="no-gpu")

    assert set((await ada.kernelspecs(server="small"))["kernelspecs"]) == {"python"}
    assert set((await ada.kernelspecs())["kernelspecs"]) == {"python", "python-gpu", "r"}
    with pytest.raises(RequestFailedError):
        await ada.start_kernel("python-gpu", server="small")
    kernel = await ada.start_kernel("python", server="small")
    async with ada.connect(kernel, server="small") as connection:
        assert (await connection.execute("print('here')")).text == "here\n"


async def test_a_start_that_can_not_have_its_gateway_says_why(house: House) -> None:
    ada = await house.enter("ada")
    await ada.login()

    limit = await ada.failure_of_start(server="one", profile="no-limit")
    rights = await ada.failure_of_start(server="two", profile="ambitious")

    assert "gateway_mode is 'shared'" in limit
    assert "gateway_mode: per-user" in limit
    assert "may not bind the ClusterRole cluster-admin" in rights

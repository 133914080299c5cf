"""Connections to a real API server by kubeconfigs of several kinds."""

import json

import pytest
import yaml

from demo.install import kubectl
from hub_service.kinds import NAMESPACES
from hub_service.kube import ApiError, Cluster


@pytest.mark.parametrize(
    ("server_name", "reason"), [("kubernetes", "NotFound"), ("elsewhere.example", "Unreachable")]
)
async def test_the_name_in_the_servers_certificate(
    definitions, monkeypatch, tmp_path, server_name, reason
):
    """A kubeconfig's tls-server-name is what the certificate must be for, with websockets too."""
    config = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    config["clusters"][0]["cluster"]["tls-server-name"] = server_name
    path = tmp_path / "kubeconfig"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("KUBECONFIG", str(path))
    async with Cluster.from_environment() as cluster:
        with pytest.raises(ApiError) as asked:
            await cluster.get(NAMESPACES, None, "missing")
        with pytest.raises(ApiError) as executed:
            await cluster.execute("default", "missing", "kernel", ["true"])
    assert asked.value.reason == reason
    assert (executed.value.status == 404) is (reason == "NotFound")
    if reason == "Unreachable":
        assert "certificate" in asked.value.message
        assert "certificate" in executed.value.message

"""The gateway's environment."""

from __future__ import annotations

import pytest

from elastic_spawner.gateway.settings import GatewaySettings, SettingsError

NEEDED = {
    "JUPYTERHUB_API_URL": "http://hub.jhub:8081/hub/api/",
    "ELASTIC_NAMESPACE": "users",
    "ELASTIC_GATEWAY_NAME": "shared",
}


def test_defaults() -> None:
    settings = GatewaySettings.from_environment(NEEDED)
    assert settings.hub_api_url == "http://hub.jhub:8081/hub/api"
    assert settings.kernels == frozenset()
    assert settings.default_kernel is None
    assert (settings.service_name, settings.start_timeout, settings.port) == ("elastic", 300, 8888)


def test_everything_set() -> None:
    settings = GatewaySettings.from_environment(
        NEEDED
        | {
            "ELASTIC_KERNELS": "python, r,",
            "ELASTIC_DEFAULT_KERNEL": "r",
            "ELASTIC_START_TIMEOUT": "60",
            "ELASTIC_LOG_LEVEL": "debug",
            "ELASTIC_SERVICE_NAME": "gpu-service",
        }
    )
    assert settings.kernels == {"python", "r"}
    assert settings.default_kernel == "r"
    assert (settings.start_timeout, settings.log_level) == (60, "DEBUG")
    assert settings.service_name == "gpu-service"


def test_all_that_is_missing_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as error:
        GatewaySettings.from_environment({})
    for name in NEEDED:
        assert f"{name} is not set" in str(error.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("JUPYTERHUB_API_URL", "hub:8081"),
        ("ELASTIC_START_TIMEOUT", "soon"),
        ("ELASTIC_START_TIMEOUT", "0"),
        ("ELASTIC_LOG_LEVEL", "LOUD"),
        ("ELASTIC_PORT", "70000"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{value}': must be"):
        GatewaySettings.from_environment(NEEDED | {name: value})

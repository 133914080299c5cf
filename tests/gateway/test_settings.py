"""The gateway's environment."""

from __future__ import annotations

import pytest

from elastic_spawner.gateway.settings import GatewaySettings, SettingsError

NEEDED = {
    "ELASTIC_NAMESPACE": "users",
    "ELASTIC_GATEWAY_NAME": "shared",
}


def test_defaults() -> None:
    settings = GatewaySettings.from_environment(NEEDED)
    assert settings.hub_api_url is None
    assert (settings.service_name, settings.port) == ("elastic", 8888)
    assert (settings.start_timeout, settings.answer_after, settings.grace) == (120, 5, 60)


def test_everything_set() -> None:
    settings = GatewaySettings.from_environment(
        NEEDED
        | {
            "JUPYTERHUB_API_URL": "http://hub.jhub:8081/hub/api/",
            "ELASTIC_START_TIMEOUT": "60",
            "ELASTIC_START_ANSWER_AFTER": "0",
            "ELASTIC_START_GRACE": "30",
            "ELASTIC_SERVICE_NAME": "gpu-service",
        }
    )
    assert settings.hub_api_url == "http://hub.jhub:8081/hub/api"
    assert (settings.start_timeout, settings.answer_after, settings.grace) == (60, 0, 30)
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
        ("ELASTIC_START_ANSWER_AFTER", "-1"),
        ("ELASTIC_PORT", "70000"),
    ],
)
def test_a_bad_value_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=f"{name}='{value}': must be"):
        GatewaySettings.from_environment(NEEDED | {name: value})

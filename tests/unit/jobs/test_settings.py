"""What a job's environment must say, and what is said where it doesn't."""

import pytest

from elastic_spawner.jobs.settings import JobSettingsError, from_environment

GOOD = {
    "JUPYTER_GATEWAY_URL": "http://elastic-gateway.jupyter-users:8888/",
    "JUPYTER_GATEWAY_AUTH_TOKEN": "secret\n",
}


def test_url_token_and_a_time_out():
    settings = from_environment(GOOD)
    assert settings.url == "http://elastic-gateway.jupyter-users:8888"
    assert settings.websocket_url == "ws://elastic-gateway.jupyter-users:8888"
    assert settings.token == "secret"
    assert settings.start_timeout == 300


def test_kernel_variables_are_forwarded_with_the_time_out_and_nothing_else_is():
    settings = from_environment(
        GOOD | {"KERNEL_SIZE": "large", "HOME": "/tmp", "KERNEL_LAUNCH_TIMEOUT": "20"}
    )
    assert settings.environment == {"KERNEL_SIZE": "large", "KERNEL_LAUNCH_TIMEOUT": "20.0"}


def test_the_token_is_not_in_what_is_printed():
    assert "secret" not in repr(from_environment(GOOD))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"JUPYTER_GATEWAY_URL": ""}, "JUPYTER_GATEWAY_URL .* must be the gateway's URL"),
        ({"JUPYTER_GATEWAY_URL": "gateway:8888"}, r"JUPYTER_GATEWAY_URL \('gateway:8888'\)"),
        ({"JUPYTER_GATEWAY_AUTH_TOKEN": " "}, "JUPYTER_GATEWAY_AUTH_TOKEN is not set"),
        ({"KERNEL_LAUNCH_TIMEOUT": "soon"}, r"KERNEL_LAUNCH_TIMEOUT \('soon'\) must be a number"),
        ({"KERNEL_LAUNCH_TIMEOUT": "0"}, "KERNEL_LAUNCH_TIMEOUT"),
        ({"KERNEL_LAUNCH_TIMEOUT": "nan"}, "KERNEL_LAUNCH_TIMEOUT"),
    ],
)
def test_what_is_missing_is_named(change, sentence):
    with pytest.raises(JobSettingsError, match=sentence):
        from_environment(GOOD | change)

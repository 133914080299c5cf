"""What a notebook server is told fits together."""

from __future__ import annotations

from hub_service.notebooks.notebook_environment import notebook_environment


def test_the_request_outlasts_the_start_it_waits_for() -> None:
    env = notebook_environment(
        user="a@b.org", gateway_url="http://gateway:8888", token="t", start_timeout=120
    )

    assert env["KERNEL_USERNAME"] == "a@b.org"
    assert env["JUPYTER_GATEWAY_URL"] == "http://gateway:8888"
    assert float(env["JUPYTER_GATEWAY_REQUEST_TIMEOUT"]) > float(env["KERNEL_LAUNCH_TIMEOUT"])
    assert env["KERNEL_LAUNCH_TIMEOUT"] == "120"


def test_no_basic_authentication_competes_with_the_token() -> None:
    env = notebook_environment(user="u", gateway_url="g", token="t", start_timeout=1)

    assert env["JUPYTER_GATEWAY_AUTH_TOKEN"] == "t"
    assert "JUPYTER_GATEWAY_HTTP_USER" not in env

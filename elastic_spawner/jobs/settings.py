"""Where the gateway is and who is asking, from the job's environment. Pure.

The variables are those of a notebook server on the hub, so that what is known there holds here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

_URL = "JUPYTER_GATEWAY_URL"
_TOKEN = "JUPYTER_GATEWAY_AUTH_TOKEN"  # noqa: S105 (the name of a variable)
_TIMEOUT = "KERNEL_LAUNCH_TIMEOUT"
_DEFAULT_TIMEOUT = 300.0


class JobSettingsError(ValueError):
    """The environment says not enough to run; the message names the variable and the way out."""


@dataclass(frozen=True)
class JobSettings:
    """url: the gateway's, without a trailing slash. token: a hub token of the kernel's owner.

    start_timeout: seconds that the kernel's start may take, waiting for a GPU included.
    environment: variables for the kernel, as far as its spec declares them (`KERNEL_*`).
    """

    url: str
    token: str = field(repr=False)
    start_timeout: float
    environment: Mapping[str, str]

    @property
    def websocket_url(self) -> str:
        """The gateway's URL for websockets."""
        return "ws" + self.url.removeprefix("http")


def from_environment(environ: Mapping[str, str]) -> JobSettings:
    """Settings of this process. Raises JobSettingsError."""
    url = environ.get(_URL, "").rstrip("/")
    if not url.startswith(("http://", "https://")):
        raise JobSettingsError(
            f"{_URL} ({url!r}) must be the gateway's URL, "
            "for example http://elastic-gateway.jupyter-users:8888"
        )
    token = environ.get(_TOKEN, "").strip()
    if not token:
        raise JobSettingsError(
            f"{_TOKEN} is not set: it must be a hub token with the scope "
            "custom:elastic:kernels, of the user whose kernel this shall be"
        )
    text = environ.get(_TIMEOUT, "") or str(_DEFAULT_TIMEOUT)
    try:
        timeout = float(text)
    except ValueError:
        timeout = 0
    if not 0 < timeout < float("inf"):
        raise JobSettingsError(f"{_TIMEOUT} ({text!r}) must be a number of seconds above 0")
    forwarded = {name: value for name, value in environ.items() if name.startswith("KERNEL_")}
    return JobSettings(url, token, timeout, forwarded | {_TIMEOUT: str(timeout)})

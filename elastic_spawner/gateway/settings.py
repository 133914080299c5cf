"""What the gateway's Deployment tells it, read from the environment once at start-up."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

_T = TypeVar("_T")


class SettingsError(ValueError):
    """An environment that can't be used: names each variable, its value and the way out."""


@dataclass(frozen=True)
class GatewaySettings:
    """Settings of one gateway process.

    hub_api_url: where the hub says whose a token is, such as http://hub.jhub:8081/hub/api; None
    where there is no hub.
    namespace: of the gateway, and where nothing else is said of its kernels and their specs.
    spec_namespace: of kernel specs and templates.
    user_namespaces: whether kernels are made in their owners' own namespaces.
    name: of the JupyterGateway this process serves.
    service_name: the hub service that may seal kernels.
    start_timeout, answer_after, grace: as in `gateway_resource.Offer`, in seconds, where the
    JupyterGateway doesn't say.
    process: what this one is called among the gateway's: its pod's name.
    leave_after: seconds for which a process that is told to end goes on serving, at least.
    """

    hub_api_url: str | None
    namespace: str
    spec_namespace: str
    user_namespaces: bool
    name: str
    service_name: str
    start_timeout: float
    answer_after: float
    grace: float
    leave_after: float
    process: str
    port: int

    @property
    def page(self) -> str | None:
        """Path of the page where people see their kernels, on the hub's host; None without a hub.

        Taken from the hub's own path, which has its base URL before /hub/api.
        """
        if self.hub_api_url is None:
            return None
        base = urlsplit(self.hub_api_url).path.removesuffix("/hub/api")
        return f"{base}/services/{self.service_name}/"

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> GatewaySettings:
        """Read `ELASTIC_*` and `JUPYTERHUB_API_URL`; SettingsError lists all that is wrong."""
        problems: list[str] = []

        def read(name: str, parse: Callable[[str], _T], default: str | None = None) -> _T | None:
            text = environment.get(name, "").strip() or default
            if text is None:
                problems.append(f"{name} is not set")
                return None
            try:
                return parse(text)
            except ValueError as error:
                problems.append(f"{name}={text!r}: {error}")
                return None

        values = {
            "hub_api_url": read("JUPYTERHUB_API_URL", _url, ""),
            "namespace": read("ELASTIC_NAMESPACE", str),
            "spec_namespace": read(
                "ELASTIC_SPEC_NAMESPACE", str, environment.get("ELASTIC_NAMESPACE", "-")
            ),
            "user_namespaces": read("ELASTIC_USER_NAMESPACES", _is_true, "false"),
            "name": read("ELASTIC_GATEWAY_NAME", str),
            "service_name": read("ELASTIC_SERVICE_NAME", str, "elastic"),
            "start_timeout": read("ELASTIC_START_TIMEOUT", _seconds(1), "120"),
            "answer_after": read("ELASTIC_START_ANSWER_AFTER", _seconds(0), "5"),
            "grace": read("ELASTIC_START_GRACE", _seconds(1), "60"),
            "leave_after": read("ELASTIC_LEAVE_AFTER", _seconds(0), "15"),
            "process": read("ELASTIC_POD_NAME", str, f"process-{os.getpid()}"),
            "port": read("ELASTIC_PORT", _port, "8888"),
        }
        if problems:
            raise SettingsError(
                "the environment can't be used: "
                + "; ".join(problems)
                + ". The hub service sets these in the gateway's Deployment."
            )
        return cls(**values)  # type: ignore[arg-type]  # None only where a problem was raised


def _url(text: str) -> str | None:
    if not text:
        return None
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("must be an http(s) URL, such as http://hub.jhub:8081/hub/api")
    return text.rstrip("/")


def _is_true(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def _seconds(least: int) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            seconds = float(text)
        except ValueError:
            seconds = -1.0
        if not least <= seconds <= 86400:
            raise ValueError(f"must be a number of seconds from {least} to 86400")
        return seconds

    return parse


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 65535:
        raise ValueError("must be a port number")
    return int(text)

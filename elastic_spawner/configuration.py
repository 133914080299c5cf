"""Sets the hub up from one mapping of settings: spawner, service, roles.

Called from `jupyterhub_config.py`, or from `hub.extraConfig` of Zero to JupyterHub:

    from elastic_spawner import configure
    configure(c, z2jh.get_config("custom.elastic"))
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from elastic_spawner.spawner import ElasticSpawner
from hub_service import settings as elastic_settings
from hub_service.gateways import gateway
from hub_service.names import kernels_scope
from hub_service.settings import Settings, SettingsError

_HUB_API_PORT = 8081
_USER_NAMESPACE = "hub-{username}"
# Kubernetes itself refuses pods there that ask for more.
_POD_SECURITY = {"pod-security.kubernetes.io/enforce": "restricted"}
# By service.external, where service.host is unset.
_SERVICE_HOSTS = {False: "hub", True: "elastic-service"}

# What in-cluster configuration reads; the hub passes none of it to its services by itself.
_CLUSTER_VARIABLES = ("KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT", "KUBECONFIG")


def configure(c: Any, settings: Mapping[str, Any]) -> None:
    """Make the hub start GPU-free notebooks, and run the service that looks after kernels.

    c: the hub's traitlets config. Values already there for other things are kept: services and
    roles are added to. A service of the settings' `service.name` that is there already keeps what
    it says (a token of its own, for example) and gets the rest.
    settings: see hub_service.settings.Settings, keys in camelCase.

    Raises SettingsError naming each setting that can't be used.
    """
    _refuse_other_namespaces(c)
    parsed = _with_hub_url(elastic_settings.parse(settings), _base_url(c))
    if not parsed.hub.enabled:
        raise SettingsError(
            "The elastic settings can't be used:\n  hub.enabled: false is for the service alone; "
            "remove it from a hub's settings"
        )
    _configure_spawner(c, parsed)
    _configure_service(c, parsed)
    _configure_roles(c, parsed.service.name)


def _configure_spawner(c: Any, settings: Settings) -> None:
    c.JupyterHub.spawner_class = ElasticSpawner
    c.JupyterHub.hub_connect_url = _origin(_hub_api_url(settings))
    c.ElasticSpawner.namespace = settings.namespace
    if settings.user_namespaces.enabled:
        c.ElasticSpawner.enable_user_namespaces = True
        c.ElasticSpawner.user_namespace_template = (
            settings.user_namespaces.template
            or c.KubeSpawner.get("user_namespace_template")
            or _USER_NAMESPACE
        )
        c.ElasticSpawner.user_namespace_labels = {
            **(_POD_SECURITY if settings.pod_security.is_standard else {}),
            **c.KubeSpawner.get("user_namespace_labels", {}),
            **c.ElasticSpawner.get("user_namespace_labels", {}),
        }
    c.ElasticSpawner.gateway_mode = settings.gateway.mode
    c.ElasticSpawner.gateway_url = (
        gateway.url(settings.gateway.name, settings.namespace)
        if settings.has_shared_gateway
        else ""
    )
    c.ElasticSpawner.gateway_spec = settings.gateway_spec()
    c.ElasticSpawner.gateway_named_servers = settings.gateway.named_servers
    c.ElasticSpawner.kernel_start_timeout = settings.start.longest_request
    c.ElasticSpawner.gpu_resources = list(settings.spawner.gpu_resources)
    c.ElasticSpawner.shared_volumes = [
        volume.mount()._asdict() for volume in settings.shared_volumes
    ]
    c.ElasticSpawner.notebook_config = settings.spawner.notebook_config
    c.ElasticSpawner.restricted_pods = settings.spawner.restricted_pods


def _refuse_other_namespaces(c: Any) -> None:
    """What would put notebooks where the service doesn't look."""
    for section in ("KubeSpawner", "ElasticSpawner"):
        if "namespace_name_template" in c[section]:
            raise SettingsError(
                f"{section}.namespace_name_template: there is no such option any more. Its name is "
                f"{section}.user_namespace_template now; with elastic kernels, set "
                "userNamespaces.enabled and userNamespaces.template in their settings"
            )
        if c[section].get("enable_user_namespaces"):
            raise SettingsError(
                f"{section}.enable_user_namespaces: with elastic kernels, set "
                "userNamespaces.enabled in their settings instead, so that the service and the "
                "gateways know of these namespaces too"
            )


def _configure_service(c: Any, settings: Settings) -> None:
    service = settings.service
    others, given = _services(c, service.name)
    definition = {
        "name": service.name,
        "url": f"http://{service.host or _SERVICE_HOSTS[service.external]}:{service.port}",
        "oauth_no_confirm": True,
        "display": True,
        **given,
    }
    if service.external:
        if not (given.get("api_token") or given.get("apiToken")):
            raise SettingsError(
                "The elastic settings can't be used:\n  service.external: the hub has no token for "
                f"this service. With Zero to JupyterHub, hub.services.{service.name}: {{}} in the "
                "values makes one; else add a service of that name with an api_token to "
                "c.JupyterHub.services before configure is called"
            )
    else:
        definition |= _managed(c, settings, given)
    c.JupyterHub.services = [*others, definition]


def _services(c: Any, name: str) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The hub's other services, and what hub.services of the chart says of ours, which stands."""
    others, given = [], {}
    for service in _listed(c, "services"):
        if service.get("name") == name:
            given = service
        else:
            others.append(service)
    return others, given


def _managed(c: Any, settings: Settings, given: Mapping[str, Any]) -> dict[str, Any]:
    """What makes the hub start the service itself, in its own pod."""
    environment = {name: os.environ[name] for name in _CLUSTER_VARIABLES if name in os.environ}
    environment[elastic_settings.ENVIRONMENT_VARIABLE] = elastic_settings.dump(settings)
    # The service runs beside the hub. By the address for others it would depend on the hub's
    # Service, which leads nowhere until the hub is ready, and the hub waits for its services.
    path = urlsplit(_hub_api_url(settings)).path
    environment["JUPYTERHUB_API_URL"] = f"http://127.0.0.1:{_hub_port(c)}{path}"
    # Beside the hub's database: kept over restarts of the hub's container.
    environment[elastic_settings.IDENTITY_FOLDER_VARIABLE] = os.getcwd()
    return {
        "command": given.get("command") or [sys.executable, "-m", "hub_service"],
        "environment": environment | given.get("environment", {}),
    }


def _configure_roles(c: Any, service_name: str) -> None:
    scope = kernels_scope(service_name)
    c.JupyterHub.custom_scopes = {
        **c.JupyterHub.get("custom_scopes", {}),
        scope: {"description": "Start and use one's own kernels, by programs"},
    }
    # Who has a scope may make tokens with it.
    own = [f"access:services!service={service_name}", scope]
    roles = _listed(c, "load_roles")
    for index, role in enumerate(roles):
        if role.get("name") == "user":
            roles[index] = {**role, "scopes": [*role.get("scopes", ["self"]), *own]}
            break
    else:
        # A default role that is loaded replaces the hub's own: "self" is what that one has.
        roles.append(
            {
                "name": "user",
                "description": "The hub's default, and one's own kernels at the service",
                "scopes": ["self", *own],
            }
        )
    roles.append(
        {
            "name": f"{service_name}-service",
            "description": "Whose servers run, and that they do while their kernels work; "
            "who is in which group, and the limits that are written there",
            "services": [service_name],
            "scopes": ["read:servers", "users:activity", "list:groups", "read:groups"],
        }
    )
    c.JupyterHub.load_roles = roles


def _with_hub_url(settings: Settings, base_url: str) -> Settings:
    if settings.hub.api_url is not None:
        return settings
    namespace = os.environ.get("POD_NAMESPACE")
    if not namespace:
        raise SettingsError(
            "The elastic settings can't be used:\n  hub.apiUrl: is required where the environment "
            "variable POD_NAMESPACE doesn't name the hub's own namespace (for example "
            "http://hub.jupyter:8081/hub/api)"
        )
    url = f"http://hub.{namespace}:{_HUB_API_PORT}{base_url}hub/api"
    return settings.model_copy(
        update={"hub": settings.hub.model_copy(update={"api_url": url})},
    )


def _hub_api_url(settings: Settings) -> str:
    url = settings.hub.api_url
    if url is None:
        raise SettingsError("hub.apiUrl: is required")
    return url


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _hub_port(c: Any) -> int:
    bound = urlsplit(c.JupyterHub.get("hub_bind_url", "")).port
    return bound or int(c.JupyterHub.get("hub_port", _HUB_API_PORT))


def _base_url(c: Any) -> str:
    base_url: str = c.JupyterHub.get("base_url", "/")
    return base_url if base_url.endswith("/") else base_url + "/"


def _listed(c: Any, name: str) -> list[dict[str, Any]]:
    """What the config holds as a list so far; nothing, where nothing was set."""
    value = c.JupyterHub.get(name, [])
    return list(value) if isinstance(value, list | tuple) else []

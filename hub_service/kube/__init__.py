"""Talking to the Kubernetes API: client, reflector, workqueue, controller.

The only folder that imports kubernetes_asyncio, and ignorant of Jupyter: it works on plain dicts
of any kind.
"""

from hub_service.kube.access import ConfigurationError
from hub_service.kube.client import Cluster, ResourceType
from hub_service.kube.controller import Controller
from hub_service.kube.errors import ApiError
from hub_service.kube.execute import Executed
from hub_service.kube.reflector import Reflector
from hub_service.kube.store import Key, Object, key_of
from hub_service.kube.workqueue import WorkQueue

__all__ = [
    "ApiError",
    "Cluster",
    "ConfigurationError",
    "Controller",
    "Executed",
    "Key",
    "Object",
    "Reflector",
    "ResourceType",
    "WorkQueue",
    "key_of",
]

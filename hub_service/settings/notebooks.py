"""The sections `notebook` and `spawner`: notebook servers, without a hub and of one."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from hub_service.settings.section import Section


class NotebookSettings(Section):
    """Notebook servers without a hub: JupyterNotebooks. The hub's own are KubeSpawner's."""

    image: str | None = Field(
        None,
        min_length=1,
        description="Image of a JupyterNotebook whose template names none. Unset: it must.",
    )
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] = Field(
        "IfNotPresent", description="When that image is pulled, as in a container."
    )


class SpawnerSettings(Section):
    """What ElasticSpawner does to notebook pods."""

    gpu_resources: list[str] = Field(
        ["nvidia.com/*", "amd.com/*", "gpu.intel.com/*"],
        description="Resource names (with * as wildcard) that a notebook pod may not hold.",
    )
    notebook_config: bool = Field(
        True,
        description="Put a jupyter_server configuration file into notebook pods: kernels outlive "
        "a pod that is drained and are found again by the next one, and large outputs pass.",
    )
    restricted_pods: bool = Field(
        True,
        description="Whether notebook pods keep to Kubernetes' restricted Pod Security Standard "
        "where the hub's configuration says nothing else.",
    )

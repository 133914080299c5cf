"""The spawner: a user's notebook pod, without a GPU, pointed at the gateway.

First step of the path from login to kernel. Everything KubeSpawner does still works: profiles,
volumes, hooks, named servers.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

from jupyterhub.utils import maybe_future
from kubespawner import KubeSpawner
from kubespawner.clients import shared_client
from traitlets import Bool, Integer, List, Unicode

from elastic_spawner.gpus import without_gpus
from elastic_spawner.notebook_environment import notebook_environment
from hub_service import kinds
from hub_service.names import safe_label


class ElasticSpawner(KubeSpawner):
    """KubeSpawner for notebooks whose kernels run in pods of their own."""

    gateway_url = Unicode(
        config=True,
        help="""
        URL of the Jupyter Enterprise Gateway that starts this user's kernels, as seen from the
        notebook pod, for example `http://elastic-gateway.jupyter-users:8888`.

        Empty: no gateway is set, and kernels run inside the notebook pod, without a GPU.
        """,
    )

    kernel_start_timeout = Integer(
        300,
        config=True,
        help="""
        Seconds that the start of a kernel may take.

        The time-outs of the notebook's requests to the gateway follow from it.
        """,
    )

    gpu_resources = List(
        Unicode(),
        ["nvidia.com/*", "amd.com/*", "gpu.intel.com/*"],
        config=True,
        help="""
        Resource names that a notebook pod may not hold; `*` stands for anything.

        Requests and limits of these are removed from every container of the final manifest,
        whatever put them there, and the spawn log says so.
        """,
    )

    gpu_runtime_classes = List(
        Unicode(),
        ["nvidia*"],
        config=True,
        help="""
        Runtime classes that make sense with a GPU only, and are removed from notebook pods;
        `*` stands for anything.
        """,
    )

    remove_resource_claims = Bool(
        True,
        config=True,
        help="""
        Remove dynamic resource claims (`resourceClaims`) from notebook pods.

        A pod doesn't show what device a claim is for, so all are removed. Switch off if notebooks
        need claims for other devices.
        """,
    )

    # What was removed from the pod of the start in progress, for the spawn log.
    _removed: tuple[str, ...] = ()

    def get_env(self) -> dict[str, str]:
        """KubeSpawner's environment and what the notebook must know of its gateway."""
        env: dict[str, str] = super().get_env()
        if self.gateway_url:
            ours = notebook_environment(
                user=self.user.name,
                gateway_url=self.gateway_url,
                token=env["JUPYTERHUB_API_TOKEN"],
                start_timeout=self.kernel_start_timeout,
            )
            # What the administrator set by `environment` stands.
            env.update({k: v for k, v in ours.items() if k not in self.environment})
        return env

    def start(self) -> Any:
        """Start the notebook pod; see KubeSpawner."""
        self._removed = ()
        return super().start()

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        # The last step before the API server sees the pod: profiles, overrides and hooks have had
        # their say. It may run again for the same pod, when a request timed out.
        manifest = self.api.api_client.sanitize_for_serialization(pod)
        pod.spec, removed = without_gpus(
            manifest["spec"],
            resources=self.gpu_resources,
            runtime_classes=self.gpu_runtime_classes,
            resource_claims=self.remove_resource_claims,
        )
        if removed:
            self._removed = tuple(removed)
            self.log.info("%s: removed from the notebook pod: %s", self._log_name, self._notice())
        created: bool = await super()._make_create_pod_request(pod, request_timeout)
        return created

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """KubeSpawner's events, and a line on what was taken out of the pod."""
        said = False
        async for event in super().progress():
            if self._removed and not said:
                said = True
                yield {
                    "message": f"Notebooks hold no GPU; removed from this one: {self._notice()}. "
                    "Kernels get theirs when they start."
                }
            yield event

    async def run_post_stop_hook(self) -> None:
        """End the server's kernels, then run the configured hook.

        Unlike `stop`, this runs however the server ended.
        """
        try:
            await self._delete_kernels()
        finally:
            await maybe_future(super().run_post_stop_hook())

    async def _delete_kernels(self) -> None:
        owner, server = safe_label(self.user.name), safe_label(self.name)
        selector = f"{kinds.LABEL_OWNER}={owner},{kinds.LABEL_SERVER}={server}"
        await shared_client("CustomObjectsApi").delete_collection_namespaced_custom_object(
            kinds.JUPYTER_KERNELS.group,
            kinds.JUPYTER_KERNELS.version,
            self.namespace,
            kinds.JUPYTER_KERNELS.plural,
            label_selector=selector,
            propagation_policy="Background",
            _request_timeout=self.k8s_api_request_timeout,
        )
        self.log.info("%s: kernels of the stopped server deleted", self._log_name)

    def _notice(self) -> str:
        return "; ".join(self._removed)

"""The spawner: a user's notebook pod, without a GPU, pointed at the gateway.

First step of the path from login to kernel. Everything KubeSpawner does still works: profiles,
volumes, hooks, named servers.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from datetime import UTC, datetime
from typing import Any

from jupyterhub.utils import maybe_future
from kubespawner import KubeSpawner
from kubespawner.clients import shared_client
from traitlets import Bool, Dict, Enum, Instance, Integer, List, Unicode

from elastic_spawner import gateways, user_gateway
from elastic_spawner.errors import StartError
from elastic_spawner.gpus import without_gpus
from elastic_spawner.kernels_at_stop import KnowsWhyItStops
from elastic_spawner.progress import Notices, merged
from hub_service import kinds
from hub_service.gateways import gateway
from hub_service.homes import Mount, with_shared
from hub_service.kube import Cluster
from hub_service.names import safe_label
from hub_service.namespaces import labels_of_namespace
from hub_service.notebooks.notebook_config import file_text, with_notebook_config
from hub_service.notebooks.notebook_environment import notebook_environment
from hub_service.pods import podsecurity

# The hub gives up on a start at `start_timeout` with words of its own; the gateway's say more.
_MARGIN = 5.0
_STOPS = gateways.StopsTold()


class ElasticSpawner(KnowsWhyItStops, KubeSpawner):
    """KubeSpawner for notebooks whose kernels run in pods of their own."""

    gateway_mode = Enum(
        ["shared", "per-user", "none"],
        "shared",
        config=True,
        help="""
        Which gateway starts this server's kernels.

        - `shared`: the one of `gateway_url`.
        - `per-user`: one that is made for the user when the server starts, and let go when it
          stops. The start waits for it, beside the notebook pod's own.
        - `none`: none; kernels run inside the notebook pod, without a GPU.

        A profile may set it in its `kubespawner_override`.
        """,
    )

    gateway_url = Unicode(
        config=True,
        help="""
        URL of the shared gateway, as seen from notebook pods, for example
        `http://elastic-gateway.jupyter-users:8888`. Empty: there is none.
        """,
    )

    gateway_spec = Dict(
        config=True,
        help="""
        With gateways per user: the spec of the user's JupyterGateway, as the kind has it (image,
        resources, kernels, ...). The owner is added. `configure` sets it from the settings; a
        profile that sets it replaces all of that.
        """,
    )

    gateway_named_servers = Enum(
        ["shared", "separate"],
        "shared",
        config=True,
        help="""
        With gateways per user: whether all servers of a user share one, or have one each.

        A server whose profile sets `gateway_spec`, or one of the three below, has one of its own
        in any case.
        """,
    )

    gateway_kernels = List(
        Unicode(),
        config=True,
        help="""
        For profiles with `gateway_mode: per-user`: names of the JupyterKernelSpecs that the
        server's gateway offers. Empty: those that the settings offer to all.
        """,
    )

    gateway_default_kernel = Unicode(
        config=True,
        help="""
        For profiles with `gateway_mode: per-user`: the JupyterKernelSpec that a new notebook
        starts with. Empty: as for all.
        """,
    )

    gateway_cull_idle_timeout = Integer(
        None,
        allow_none=True,
        config=True,
        help="""
        For profiles with `gateway_mode: per-user`: seconds after which the server's idle kernels
        end; 0 or less is never. None: as for all.
        """,
    )

    kernel_start_timeout = Integer(
        120,
        config=True,
        help="""
        Seconds that the gateway may hold a request for a kernel.

        A start is answered sooner, with a kernel that is still starting where it takes its time;
        a restart is held until the kernel answers. The time-outs of the notebook's requests to the
        gateway follow from it.
        """,
    )

    notebook_config = Bool(
        True,
        config=True,
        help="""
        Put a jupyter_server configuration file into notebook pods that use a gateway.

        With it, kernels outlive a notebook pod that is drained or evicted and are found again by
        the next one, and outputs of more than 10 MB pass. The image needs nothing installed. The
        file is found by `JUPYTER_CONFIG_PATH`.
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

    restricted_pods = Bool(
        True,
        config=True,
        help="""
        Give notebook pods the settings of Kubernetes' restricted Pod Security Standard where the
        manifest says nothing else: no root, no gaining of privileges, no capabilities, the
        runtime's seccomp profile.

        What is said (by `container_security_context`, a profile, a hook) stands.
        """,
    )

    shared_volumes = List(
        Dict(),
        config=True,
        help="""
        Volumes that every notebook has, as its kernels do: `path`, `source` (as in a pod, such as
        `{"nfs": {...}}`), `sub_path`, `read_only`. What a notebook has at that path stays.
        `configure` sets it from the settings (sharedVolumes).
        """,
    )

    # Name of the user's own gateway that this server uses; empty where it uses none.
    gateway_name = ""

    # What the spawn page is told of the start in progress, beside the pod's events.
    _notices = Instance(Notices, ())
    _options_loaded = Instance(asyncio.Event, ())

    def get_env(self) -> dict[str, str]:
        """KubeSpawner's environment and what the notebook must know of its gateway."""
        env: dict[str, str] = super().get_env()
        if url := self._gateway_url():
            ours = notebook_environment(
                user=self.user.name,
                gateway_url=url,
                token=env["JUPYTERHUB_API_TOKEN"],
                start_timeout=self.kernel_start_timeout,
            )
            # What the administrator set by `environment` stands.
            env.update({k: v for k, v in ours.items() if k not in self.environment})
        return env

    def get_state(self) -> dict[str, Any]:
        """KubeSpawner's state and the gateway's name, which a profile may have decided."""
        state: dict[str, Any] = super().get_state()
        return {**state, "gateway_name": self.gateway_name}

    def load_state(self, state: dict[str, Any]) -> None:
        """Take up what `get_state` kept, after the hub's restart."""
        super().load_state(state)
        self.gateway_name = state.get("gateway_name", "")

    def clear_state(self) -> None:
        """Forget a stopped server."""
        super().clear_state()
        self.gateway_name = ""

    async def load_user_options(self) -> None:
        """Apply the profile, and see which gateway follows from it."""
        await super().load_user_options()
        choice = self._choice()
        try:
            user_gateway.refuse_unless_enforceable(self.gateway_mode, choice)
        except user_gateway.ProfileError as error:
            raise StartError(str(error)) from error
        if self.gateway_mode == "per-user":
            self.gateway_name = user_gateway.name(
                self.user.name,
                self.name,
                named_servers=self.gateway_named_servers,
                choice=choice,
            )
        elif self.gateway_mode == "shared" and not self.gateway_url:
            raise StartError(
                "gateway_mode is 'shared', and there is no shared gateway. The administrator sets "
                "gateway.keepShared in the settings, or gateway_mode: per-user (none: kernels in "
                "the notebook's own pod) in this profile."
            )
        self._options_loaded.set()

    def start(self) -> Any:
        """Start the notebook pod, and the user's gateway beside it; see KubeSpawner."""
        self._notices = Notices()
        self._options_loaded = asyncio.Event()
        self.gateway_name = ""
        return super().start()

    async def _start(self) -> Any:
        # KubeSpawner's `start` keeps the future of this method: `progress` ends with it.
        try:
            return await _both(super()._start(), self._bring_up_gateway())
        finally:
            self._notices.close()

    async def _bring_up_gateway(self) -> None:
        await self._options_loaded.wait()
        if not self.gateway_name:
            return
        if self.enable_user_namespaces:
            await self._ensure_namespace()
        wanted = user_gateway.resource(
            self.user.name,
            self.name,
            self.namespace,
            self.gateway_spec,
            named_servers=self.gateway_named_servers,
            choice=self._choice(),
            now=datetime.now(UTC),
        )
        timeout = max(self.start_timeout - _MARGIN, 1.0)
        await gateways.bring_up(self._cluster(), wanted, say=self._notices.add, timeout=timeout)

    async def _ensure_namespace(self) -> None:
        """Make the user's namespace, labelled with its owner: it is by that label that it is found.

        KubeSpawner leaves one that is there as it is, and so do we: to label namespaces is to let
        the service act in them, which is for administrators to do.
        """
        labels = labels_of_namespace(self.user.name, self.name, self.user_namespace_template)
        self.user_namespace_labels = {**self.user_namespace_labels, **labels}  # type: ignore[has-type]
        await super()._ensure_namespace()
        namespace = await self._cluster().get(kinds.NAMESPACES, None, self.namespace)
        present = namespace["metadata"].get("labels") or {}
        if not labels.items() <= present.items():
            wanted = " ".join(f"{name}={value}" for name, value in labels.items())
            raise StartError(
                f"The namespace {self.namespace} was there already, and is not labelled as "
                f"{self.user.name}'s. If it is, an administrator runs: "
                f"kubectl label namespace {self.namespace} {wanted}"
            )

    async def _make_create_pod_request(self, pod: Any, request_timeout: float) -> bool:
        # The last step before the API server sees the pod: profiles, overrides and hooks have had
        # their say. It may run again for the same pod, when a request timed out.
        manifest = self.api.api_client.sanitize_for_serialization(pod)
        if self._gateway_url() and self.notebook_config:
            manifest = with_notebook_config(manifest, file_text())
            pod.metadata.annotations = manifest["metadata"]["annotations"]
        manifest = with_shared(manifest, [Mount(**volume) for volume in self.shared_volumes])
        pod.spec, removed = without_gpus(
            manifest["spec"],
            resources=self.gpu_resources,
            runtime_classes=self.gpu_runtime_classes,
            resource_claims=self.remove_resource_claims,
        )
        if self.restricted_pods:
            pod.spec = podsecurity.hardened(pod.spec)
        if removed:
            taken = "; ".join(removed)
            self.log.info("%s: removed from the notebook pod: %s", self._log_name, taken)
            self._notices.add(
                f"Notebooks hold no GPU; removed from this one: {taken}. "
                "Kernels get theirs when they start."
            )
        created: bool = await super()._make_create_pod_request(pod, request_timeout)
        return created

    async def progress(self) -> AsyncGenerator[dict[str, Any], None]:
        """KubeSpawner's events, and lines on the gateway and on what was taken out of the pod."""
        async for event in merged(super().progress(), self._notices.events()):
            yield event

    async def run_post_stop_hook(self) -> None:
        """If the server was asked to stop, end its kernels and let its gateway go.

        Then run the configured hook. Unlike `stop`, this runs however the server ended, and never
        during a start. What goes on without the server is the service's to end.
        """
        try:
            if self.stop_was_asked_for:
                await self._delete_kernels()
                await self._let_gateway_go()
            else:
                self.log.info("%s: not asked to stop; its kernels go on", self._log_name)
            # The hub has deleted this server's token.
            await _STOPS.tell(self._cluster(), self._gateway_url(), self.user.name)
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

    async def _let_gateway_go(self) -> None:
        """Delete the user's gateway, unless another server of the user's has it too."""
        name = self.gateway_name
        others = [s for s in self.user.spawners.values() if s is not self and s.active]
        if not name or any(getattr(s, "gateway_name", "") == name for s in others):
            return
        await gateways.let_go(self._cluster(), self.namespace, name)
        self.log.info("%s: gateway %s let go", self._log_name, name)

    def _gateway_url(self) -> str:
        """Where the notebook finds its gateway; empty where it has none."""
        if self.gateway_name:
            return gateway.url(self.gateway_name, self.namespace)
        return self.gateway_url if self.gateway_mode == "shared" else ""

    def _choice(self) -> user_gateway.Choice:
        """What the profile of this start wants of its gateway."""
        return user_gateway.Choice(
            kernels=tuple(self.gateway_kernels),
            default_kernel=self.gateway_default_kernel,
            cull_idle_timeout=self.gateway_cull_idle_timeout,
            own_spec=self.gateway_spec != self.config.ElasticSpawner.get("gateway_spec", {}),
        )

    def _cluster(self) -> Cluster:
        """KubeSpawner's way to the API server, in the form that the rest of us speaks."""
        return Cluster.of_client(shared_client("CustomObjectsApi").api_client)


async def _both(pod: Coroutine[Any, Any, Any], gateway: Coroutine[Any, Any, None]) -> Any:
    """The first one's result once both are done; the failure of either ends the other."""
    tasks = [asyncio.ensure_future(pod), asyncio.ensure_future(gateway)]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        for task in done:
            task.result()
        return tasks[0].result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

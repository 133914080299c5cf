"""The resources behind a kernel: what the gateway creates, and what it reads back. Pure.

The gateway writes a Secret with the connection file and a JupyterKernel; the hub service turns
that into a pod and writes the status. Ports are the same for every kernel, since each has a pod
and an address of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from hub_service import kinds, timestamps
from hub_service.kernels import inplace
from hub_service.kinds import Object, Phase
from hub_service.names import kernel_name, safe_label

PORTS: Mapping[str, int] = {
    "shell_port": 52317,
    "iopub_port": 52318,
    "stdin_port": 52319,
    "control_port": 52320,
    "hb_port": 52321,
}
_SIGNATURE_SCHEME = "hmac-sha256"


@dataclass(frozen=True)
class KernelRequest:
    """What a JupyterKernel is made of.

    server: name of the owner's hub server ("" is the default one), None where it is not known.
    notebook: (namespace, name) of the JupyterNotebook that asks for it, if one does.
    kernel_name: what Jupyter knows the spec as, or its variant.
    interrupt_mode: message or signal.
    template: the pod template, resolved from the spec.
    template_reference: (namespace, name) of the JupyterKernelTemplate that the spec named, if any.
    parameters: values of the spec's parameters, by variable.
    dropped: names of variables that the client sent and the spec doesn't declare, with commas.
    before_cull: what its spec names to be run before a cull, as it has it.
    cull_idle_timeout: seconds; None leaves it to the gateway's or the service's.
    working_directory: the notebook's folder, an absolute path.
    """

    kernel_id: str
    namespace: str
    gateway: str
    gateway_namespace: str
    owner: str
    server: str | None
    spec_name: str
    kernel_name: str
    interrupt_mode: str
    template: Object
    template_reference: tuple[str, str] | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    cull_idle_timeout: int | None = None
    before_cull: Object | None = None
    notebook: tuple[str, str] | None = None
    dropped: str = ""
    working_directory: str | None = None


@dataclass(frozen=True)
class Ending:
    """Why a kernel can't run (any more), as its resource tells it.

    reason: CamelCase constant; message: a sentence for the kernel's user.
    """

    reason: str
    message: str


@dataclass(frozen=True)
class Observation:
    """A JupyterKernel as far as one incarnation of its pod is concerned.

    pod_ip: known as soon as the pod has a network, a little before it counts as running.
    runs: whether the kernel's container runs.
    ending: set once there is nothing left to wait for.
    waiting_for: what the pod waits for, where the status says so.
    """

    pod_ip: str | None = None
    runs: bool = False
    ending: Ending | None = None
    waiting_for: str | None = None


def connection_info(ip: str, keys: Mapping[str, str]) -> dict[str, Any]:
    """What clients need to reach a kernel, in the fields of Jupyter's connection file.

    keys: see keys.py.
    """
    return {
        "ip": ip,
        "transport": "tcp",
        "signature_scheme": _SIGNATURE_SCHEME,
        **keys,
        **PORTS,
    }


def connection_secret(request: KernelRequest, connection_file: str) -> Object:
    """The Secret that the kernel's pod mounts; `connection_file` is its JSON text."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": kernel_name(request.kernel_id), "labels": _labels(request)},
        "type": "Opaque",
        "stringData": {kinds.CONNECTION_KEY: connection_file},
    }


def jupyter_kernel(request: KernelRequest) -> Object:
    """The JupyterKernel to create."""
    name = kernel_name(request.kernel_id)
    spec: Object = {
        "kernelID": request.kernel_id,
        "owner": request.owner,
        "kernelSpecName": request.spec_name,
        "gateway": {"name": request.gateway, "namespace": request.gateway_namespace},
        "connectionSecret": name,
        "incarnation": 0,
        "template": request.template,
    }
    if request.server is not None:
        spec["server"] = request.server
    if request.notebook is not None:
        namespace, notebook = request.notebook
        spec["notebook"] = {"name": notebook, "namespace": namespace}
    if request.parameters:
        spec["parameters"] = dict(request.parameters)
    if request.template_reference is not None:
        namespace, template = request.template_reference
        spec["kernelTemplate"] = {"name": template, "namespace": namespace}
    if request.working_directory is not None:
        spec["workingDirectory"] = request.working_directory
    if request.cull_idle_timeout is not None:
        spec["cullIdleTimeout"] = request.cull_idle_timeout
    if request.before_cull is not None:
        spec["beforeCull"] = request.before_cull
    return {
        "apiVersion": kinds.JUPYTER_KERNELS.api_version,
        "kind": kinds.JUPYTER_KERNELS.kind,
        "metadata": {
            "name": name,
            "namespace": request.namespace,
            "labels": _labels(request),
            "annotations": {
                kinds.ANNOTATION_KERNEL_NAME: request.kernel_name,
                kinds.ANNOTATION_INTERRUPT_MODE: request.interrupt_mode,
                **({kinds.ANNOTATION_DROPPED: request.dropped} if request.dropped else {}),
            },
        },
        "spec": spec,
    }


def secret_ownership(kernel: Object) -> Object:
    """The merge patch that makes a kernel's Secret go when the kernel goes."""
    reference = kinds.owner_reference(kernel, kinds.JUPYTER_KERNELS)
    # Blocking the owner's deletion asks for a right (on its finalizers) that is of no use here.
    return {"metadata": {"ownerReferences": [{**reference, "blockOwnerDeletion": False}]}}


def request(field: str, request_id: str, now: datetime, **details: object) -> Object:
    """The merge patch that asks the service for something: `interrupt` or `restart`."""
    wanted = {"id": request_id, "at": timestamps.microseconds(now), **details}
    return {"spec": {field: wanted}}


def outcome(kernel: Object | None, field: str, request_id: str) -> Object | None:
    """The status field of that name once it says what came of that request; None before.

    Where another request took its place before the service saw it, that one's is as good.
    """
    said: Object = kinds.status_of(kernel or {}).get(field) or {}
    instead = (kinds.spec_of(kernel or {}).get(field) or {}).get("id")
    settled = said.get("id") in (request_id, instead) and "delivered" in said
    return said if settled else None


def restart_of(kernel: Object | None) -> Object:
    """`status.restart`: the last restart in the pod that was begun; empty if there was none."""
    return kinds.status_of(kernel or {}).get("restart") or {}


def restarts_in_place(kernel: Object | None) -> bool:
    """Whether it is worth asking for a restart in the pod."""
    template = kinds.spec_of(kernel or {}).get("template") or {}
    return kernel is not None and inplace.objection(template) is None


def incarnation(kernel: Object | None) -> int:
    """Number of the pod that a JupyterKernel asks for."""
    return int(kinds.spec_of(kernel or {}).get("incarnation") or 0)


def notice(kernel: Object | None) -> str | None:
    """What the user of a kernel that runs has to know: that some of their files are not there."""
    home = kinds.condition(kernel or {}, kinds.HOME_MOUNTED) or {}
    told = home.get("reason") in (kinds.Reason.HOME_ELSEWHERE, kinds.Reason.FOLDER_NOT_MOUNTED)
    return str(home.get("message")) if told else None


def connections_elsewhere(kernel: Object | None, process: str) -> int:
    """Websockets to a kernel that other processes of its gateway have."""
    activity = kinds.status_of(kernel or {}).get("activity") or {}
    by_process: dict[str, int] = activity.get("connectionsByPod") or {}
    return sum(count for name, count in by_process.items() if name != process)


def last_connected(kernel: Object | None) -> datetime | None:
    """When the last websocket to a kernel went, as some process of its gateway has written."""
    activity = kinds.status_of(kernel or {}).get("activity") or {}
    return timestamps.parse(activity.get("lastConnected"))


def gateway_selector(gateway: str) -> str:
    """Selects the JupyterKernels of one gateway."""
    return f"{kinds.LABEL_GATEWAY}={gateway}"


def observe(kernel: Object | None, incarnation: int) -> Observation:
    """What a JupyterKernel says about its pod number `incarnation`; None: it is gone."""
    if kernel is None:
        return Observation(ending=Ending("KernelDeleted", "The kernel's resource was deleted."))
    culled = kinds.condition(kernel, kinds.CULLED)
    if culled and culled.get("status") == "True":
        return Observation(ending=_ending(culled, "KernelCulled", "The kernel was culled."))
    if kinds.is_deleting(kernel):
        return Observation(
            ending=Ending("KernelDeleted", "The kernel's resource is being deleted.")
        )
    status = kinds.status_of(kernel)
    if status.get("incarnation", 0) != incarnation:
        return Observation()
    for kind, text in (
        (kinds.TEMPLATE_ACCEPTED, "The kernel's pod template can't be used."),
        (kinds.ADMITTED, "The kernel was refused."),
    ):
        condition = kinds.condition(kernel, kind)
        if condition and condition.get("status") == "False":
            return Observation(ending=_ending(condition, f"Not{kind}", text))
    if status.get("phase") in (Phase.FAILED, Phase.SUCCEEDED):
        return Observation(ending=_pod_ending(kernel))
    running = kinds.condition(kernel, kinds.RUNNING) or {}
    runs = running.get("status") == "True"
    return Observation(
        pod_ip=status.get("podIP") or None,
        runs=runs,
        waiting_for=None if runs else running.get("message") or None,
    )


def _pod_ending(kernel: Object) -> Ending:
    for kind, text in (
        (kinds.FAILED, "The kernel's pod failed."),
        (kinds.SUCCEEDED, "The kernel's process ended by itself."),
    ):
        condition = kinds.condition(kernel, kind)
        if condition and condition.get("status") == "True":
            return _ending(condition, f"Kernel{kind}", text)
    return Ending("KernelFailed", "The kernel's pod failed.")


def _ending(condition: Object, reason: str, message: str) -> Ending:
    return Ending(condition.get("reason") or reason, condition.get("message") or message)


def _labels(request: KernelRequest) -> dict[str, str]:
    labels = {
        kinds.LABEL_NAME: kinds.APP_NAME,
        kinds.LABEL_COMPONENT: kinds.COMPONENT_KERNEL,
        kinds.LABEL_KERNEL_ID: request.kernel_id,
        kinds.LABEL_OWNER: safe_label(request.owner),
        kinds.LABEL_GATEWAY: request.gateway,
        kinds.LABEL_KERNEL_SPEC: safe_label(request.spec_name),
    }
    if request.server is not None:
        labels[kinds.LABEL_SERVER] = safe_label(request.server)
    return labels

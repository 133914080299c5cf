"""JupyterKernel: how far it has come, what it may ask for, and the pod that it ought to have. Pure.

The status that follows is in kernel_status.py.
"""

from __future__ import annotations

from hub_service import timestamps
from hub_service.kernels import inplace
from hub_service.kinds import (
    ADMITTED,
    APP_NAME,
    BUSY,
    COMPONENT_KERNEL,
    CONNECTION_DIRECTORY,
    FINISHED_PHASES,
    IDLE,
    JUPYTER_KERNELS,
    LABEL_COMPONENT,
    LABEL_GATEWAY,
    LABEL_KERNEL_ID,
    LABEL_KERNEL_SPEC,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_OWNER,
    LABEL_SERVER,
    MANAGER,
    Object,
    Reason,
    condition,
    is_true,
    name_of,
    namespace_of,
    owner_reference,
    spec_of,
    status_of,
)
from hub_service.names import pod_name, safe_label
from hub_service.pods import podsecurity, podtemplate
from hub_service.pods.podsecurity import Objection, Policy

DEFAULT_GRACE_SECONDS = 2
CONNECTION_VOLUME = "elastic-connection"


def incarnation(kernel: Object) -> int:
    """The incarnation that is wanted."""
    return int(spec_of(kernel).get("incarnation") or 0)


def is_decided(kernel: Object) -> bool:
    """Whether admission of the wanted incarnation was decided, one way or the other."""
    decided = condition(kernel, ADMITTED) is not None
    return decided and status_of(kernel).get("incarnation") == incarnation(kernel)


def is_finished(kernel: Object) -> bool:
    """Whether the incarnation that the status speaks of is over."""
    return status_of(kernel).get("phase") in FINISHED_PHASES


def is_admitted(kernel: Object) -> bool:
    """Whether the kernel may have a pod, or has one: it counts against its owner's quota.

    An admitted kernel stays so when a new incarnation is asked for.
    """
    return is_true(kernel, ADMITTED) and not is_finished(kernel)


def pod_of_incarnation(kernel: Object) -> str:
    """The name of the wanted incarnation's pod."""
    return pod_name(name_of(kernel), incarnation(kernel))


def has_answered(kernel: Object) -> bool:
    """Whether its gateway has had an answer from the incarnation that the status speaks of."""
    activity: Object = status_of(kernel).get("activity") or {}
    if activity.get("executionState") not in (IDLE, BUSY):
        return False
    # Of an earlier incarnation, the activity stays until the next one's first answer.
    started = timestamps.parse(status_of(kernel).get("startTime"))
    last = timestamps.parse(activity.get("lastActivity"))
    return not incarnation(kernel) or bool(started and last and last >= started)


def desired_pod(kernel: Object, policy: Policy = podsecurity.RESTRICTED) -> Object:
    """The pod of the wanted incarnation, restricted as far as the policy goes."""
    spec = spec_of(kernel)
    template: Object = spec.get("template") or {}
    metadata = podtemplate.metadata(template)
    pod_spec = podsecurity.hardened(template.get("spec") or {}, policy)
    pod_spec["restartPolicy"] = "Never"
    pod_spec["enableServiceLinks"] = False
    pod_spec["automountServiceAccountToken"] = False
    pod_spec.setdefault("terminationGracePeriodSeconds", DEFAULT_GRACE_SECONDS)
    for one in [*(pod_spec.get("initContainers") or []), *(pod_spec.get("containers") or [])]:
        # The end of the log of what fails is then in the pod's status.
        one.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")
        _hide_devices(one)
    if pod_spec.get("containers"):
        container = pod_spec["containers"][podtemplate.kernel_index(template)]
        if inplace.objection(template) is None:
            container.update(inplace.supervised(container))
        _set_environment(container, spec)
        _mount_connection(pod_spec, container, spec)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": pod_of_incarnation(kernel),
            "namespace": namespace_of(kernel),
            "labels": {**metadata.labels, **_labels(spec)},
            "annotations": metadata.annotations,
            "ownerReferences": [owner_reference(kernel, JUPYTER_KERNELS)],
        },
        "spec": pod_spec,
    }


def _labels(spec: Object) -> dict[str, str]:
    labels = {
        LABEL_NAME: APP_NAME,
        LABEL_COMPONENT: COMPONENT_KERNEL,
        LABEL_MANAGED_BY: MANAGER,
    }
    texts = {
        LABEL_KERNEL_ID: spec.get("kernelID"),
        LABEL_OWNER: spec.get("owner"),
        LABEL_SERVER: spec.get("server"),
        LABEL_GATEWAY: (spec.get("gateway") or {}).get("name"),
        LABEL_KERNEL_SPEC: spec.get("kernelSpecName"),
    }
    labels.update({key: safe_label(text) for key, text in texts.items() if text is not None})
    return labels


def _set_environment(container: Object, spec: Object) -> None:
    values = {"KERNEL_ID": spec.get("kernelID"), "KERNEL_USERNAME": spec.get("owner")}
    # Kubernetes would put in the value of X for a `$(X)` in a user's name; `$$` stands for `$`.
    ours = [
        {"name": name, "value": value.replace("$", "$$")}
        for name, value in values.items()
        if value is not None
    ]
    names = {variable["name"] for variable in ours}
    others = [entry for entry in container.get("env") or [] if entry.get("name") not in names]
    container["env"] = others + ours


def _hide_devices(container: Object) -> None:
    """Let a container see no GPU of its node by its image's word alone; its template's counts."""
    env = container.get("env") or []
    hidden = podtemplate.NO_DEVICES
    if podtemplate.asks_for_a_device(container) or any(
        e.get("name") == hidden["name"] for e in env
    ):
        return
    container["env"] = [*env, dict(hidden)]


def _mount_connection(pod_spec: Object, container: Object, spec: Object) -> None:
    secret = spec.get("connectionSecret")
    if not secret:
        return
    volume = {"name": CONNECTION_VOLUME, "secret": {"secretName": secret}}
    mount = {"name": CONNECTION_VOLUME, "mountPath": CONNECTION_DIRECTORY, "readOnly": True}
    pod_spec["volumes"] = [*(pod_spec.get("volumes") or []), volume]
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), mount]


def refusal_of_template(kernel: Object, policy: Policy) -> Objection | None:
    """What the kernel's template asks for and may not have; None where all is allowed."""
    own, secret = name_of(kernel), spec_of(kernel).get("connectionSecret")
    if secret not in (None, own):
        return Objection(
            Reason.SECRET_NOT_ALLOWED,
            "spec.connectionSecret",
            secret,
            f"a kernel's key is in the Secret of its own name, {own}",
            None,
        )
    return podsecurity.objection(spec_of(kernel).get("template") or {}, policy, secret=own)

"""What a pod template may ask for, and what its pods get where it says nothing. Pure.

The service makes pods with rights of its own, so whoever may write a JupyterKernel, a spec or a
JupyterNotebook could otherwise have any pod made. A template is held to Kubernetes' restricted Pod
Security Standard, and to a little more (another ServiceAccount, another kernel's key). What an
administrator allowed by value, in the settings' section podSecurity, is let through.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from hub_service.kinds import Object, Reason

# What a volume of the restricted standard may be.
_VOLUMES = frozenset(
    {
        "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "image",
        "persistentVolumeClaim", "projected", "secret",
    }
)  # fmt: skip
_CONTAINERS = ("initContainers", "containers")
_KERNEL_SECRET = re.compile(r"kernel-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_WITHOUT_PROFILE = "Unconfined"
# With it, Kubernetes takes no pod whose processes may not gain privileges.
_SYS_ADMIN = frozenset({"SYS_ADMIN", "CAP_SYS_ADMIN"})


@dataclass(frozen=True)
class Policy:
    """What an administrator allowed beyond the standard; fields as in the settings.

    run_as_user: the uid of containers that name none; None leaves it to their image.
    """

    host_paths: tuple[str, ...] = ()
    volume_types: tuple[str, ...] = ()
    host_namespaces: bool = False
    host_ports: tuple[int, ...] = ()
    privileged: bool = False
    privilege_escalation: bool = False
    capabilities: tuple[str, ...] = ()
    root: bool = False
    unconfined: bool = False
    service_accounts: tuple[str, ...] = ()
    run_as_user: int | None = None


RESTRICTED = Policy()


class Objection(NamedTuple):
    """What of a template is not allowed: the field, its value, and the setting that would allow it.

    setting: None where none does.
    """

    reason: str
    field: str
    value: object
    problem: str
    setting: str | None

    def __str__(self) -> str:
        way_out = "Remove it from the template"
        if self.setting:
            way_out += f", or have an administrator set {self.setting}"
        return f"{self.field} ({self.value!r}): {self.problem}. {way_out}."


def objection(template: Object, policy: Policy, *, secret: str | None = None) -> Objection | None:
    """The first thing that a pod template asks for and may not have.

    secret: the Secret of a kernel's own key.
    """
    return next(iter(_objections(template.get("spec") or {}, policy, secret)), None)


def hardened(pod_spec: Object, policy: Policy = RESTRICTED) -> Object:
    """The pod's spec, with the restricted standard's settings where it has none of its own.

    What is said stands: a container that is privileged or runs as root stays so.
    """
    result = copy.deepcopy(pod_spec)
    pod_context: Object = result.get("securityContext") or {}
    pod_context.setdefault("seccompProfile", {"type": "RuntimeDefault"})
    result["securityContext"] = pod_context
    for _, container in _containers(result):
        container["securityContext"] = _context(
            container.get("securityContext") or {}, pod_context, policy
        )
    return result


def _context(context: Object, pod_context: Object, policy: Policy) -> Object:
    user = context.get("runAsUser", pod_context.get("runAsUser"))
    if user is None and policy.run_as_user is not None:
        user = context["runAsUser"] = policy.run_as_user
    # An image may run as root by itself: kubelet refuses it, unless root is allowed.
    said = context.get("runAsNonRoot", pod_context.get("runAsNonRoot"))
    if said is None and user != 0 and not (policy.root and user is None):
        context["runAsNonRoot"] = True
    if context.get("privileged"):
        return context
    capabilities = context["capabilities"] = dict(context.get("capabilities") or {})
    capabilities.setdefault("drop", ["ALL"])
    if not _SYS_ADMIN & set(capabilities.get("add") or ()):
        context.setdefault("allowPrivilegeEscalation", False)
    return context


def _containers(pod_spec: Object) -> Iterator[tuple[str, Object]]:
    """Where a container stands, and itself."""
    for kind in _CONTAINERS:
        for container in pod_spec.get(kind) or []:
            yield f"{kind}[{container.get('name')}]", container


def _objections(pod_spec: Object, policy: Policy, secret: str | None) -> Iterator[Objection]:
    yield from _of_host(pod_spec, policy)
    yield from _of_account(pod_spec, policy)
    yield from _of_volumes(pod_spec, policy, secret)
    yield from _of_context("spec.securityContext", pod_spec.get("securityContext") or {}, policy)
    for where, container in _containers(pod_spec):
        context = container.get("securityContext") or {}
        yield from _of_context(f"spec.{where}.securityContext", context, policy)
        yield from _of_container(f"spec.{where}", container, policy, secret)
    if pod_spec.get("ephemeralContainers"):
        yield Objection(
            Reason.INVALID_SPEC,
            "spec.ephemeralContainers",
            [container.get("name") for container in pod_spec["ephemeralContainers"]],
            "a new pod can have none",
            None,
        )


def _of_host(pod_spec: Object, policy: Policy) -> Iterator[Objection]:
    for field in ("hostNetwork", "hostPID", "hostIPC"):
        if pod_spec.get(field) and not policy.host_namespaces:
            yield Objection(
                Reason.HOST_NAMESPACE_NOT_ALLOWED,
                f"spec.{field}",
                pod_spec[field],
                "pods share nothing with their node",
                "podSecurity.hostNamespaces: true",
            )


def _of_account(pod_spec: Object, policy: Policy) -> Iterator[Objection]:
    for field in ("serviceAccountName", "serviceAccount"):
        name = pod_spec.get(field)
        if name not in (None, "", "default", *policy.service_accounts):
            yield Objection(
                Reason.SERVICE_ACCOUNT_NOT_ALLOWED,
                f"spec.{field}",
                name,
                "pods run with no other ServiceAccount's rights",
                f"podSecurity.serviceAccounts: [{name}]",
            )


def _of_volumes(pod_spec: Object, policy: Policy, secret: str | None) -> Iterator[Objection]:
    for volume in pod_spec.get("volumes") or []:
        where = f"spec.volumes[{volume.get('name')}]"
        for kind in sorted(volume.keys() - {"name"} - _VOLUMES - {*policy.volume_types}):
            if kind == "hostPath":
                path = (volume[kind] or {}).get("path")
                if not _is_below(str(path), policy.host_paths):
                    yield Objection(
                        Reason.HOST_PATH_NOT_ALLOWED,
                        f"{where}.hostPath.path",
                        path,
                        "folders of the node are not mounted",
                        f"podSecurity.hostPaths: [{path}]",
                    )
            else:
                yield Objection(
                    Reason.VOLUME_NOT_ALLOWED,
                    f"{where}.{kind}",
                    volume[kind],
                    "volumes of this type are not mounted directly",
                    f"podSecurity.volumeTypes: [{kind}]",
                )
        names = [(volume.get("secret") or {}).get("secretName")]
        for source in (volume.get("projected") or {}).get("sources") or []:
            names.append((source.get("secret") or {}).get("name"))
            if "serviceAccountToken" in source and not _may_have_token(pod_spec, policy):
                yield Objection(
                    Reason.SERVICE_ACCOUNT_NOT_ALLOWED,
                    f"{where}.projected.sources",
                    "serviceAccountToken",
                    "pods hold no token for the cluster",
                    "podSecurity.serviceAccounts, and spec.serviceAccountName to one of those",
                )
        yield from _of_secrets(where, names, secret)


def _may_have_token(pod_spec: Object, policy: Policy) -> bool:
    return pod_spec.get("serviceAccountName") in policy.service_accounts


def _of_context(where: str, context: Object, policy: Policy) -> Iterator[Objection]:
    if context.get("privileged") and not policy.privileged:
        yield Objection(
            Reason.PRIVILEGED_NOT_ALLOWED,
            f"{where}.privileged",
            True,
            "containers have no privileges on their node",
            "podSecurity.privileged: true",
        )
    if context.get("allowPrivilegeEscalation") and not (
        policy.privilege_escalation or policy.privileged
    ):
        yield Objection(
            Reason.PRIVILEGED_NOT_ALLOWED,
            f"{where}.allowPrivilegeEscalation",
            True,
            "processes gain no privileges",
            "podSecurity.privilegeEscalation: true",
        )
    for field, root in (("runAsUser", 0), ("runAsNonRoot", False)):
        value = context.get(field)
        if value is not None and value == root and not policy.root:
            yield Objection(
                Reason.ROOT_NOT_ALLOWED,
                f"{where}.{field}",
                value,
                "containers don't run as root",
                "podSecurity.root: true",
            )
    added = (context.get("capabilities") or {}).get("add") or []
    if others := [name for name in added if name not in policy.capabilities]:
        yield Objection(
            Reason.CAPABILITY_NOT_ALLOWED,
            f"{where}.capabilities.add",
            others,
            "containers have no capabilities",
            f"podSecurity.capabilities: [{', '.join(map(str, others))}]",
        )
    dropped = (context.get("capabilities") or {}).get("drop")
    if dropped is not None and "ALL" not in dropped and not policy.unconfined:
        yield Objection(
            Reason.CAPABILITY_NOT_ALLOWED,
            f"{where}.capabilities.drop",
            dropped,
            "containers drop ALL capabilities, and add those that are allowed",
            "podSecurity.unconfined: true",
        )
    yield from _of_confinement(where, context, policy)


def _of_confinement(where: str, context: Object, policy: Policy) -> Iterator[Objection]:
    if policy.unconfined:
        return
    found = {
        f"{field}.type": (context.get(field) or {}).get("type")
        for field in ("seccompProfile", "appArmorProfile")
    }
    found = {field: kind for field, kind in found.items() if kind == _WITHOUT_PROFILE}
    if context.get("procMount") not in (None, "Default"):
        found["procMount"] = context["procMount"]
    if context.get("sysctls"):
        found["sysctls"] = [entry.get("name") for entry in context["sysctls"]]
    if (context.get("windowsOptions") or {}).get("hostProcess"):
        found["windowsOptions.hostProcess"] = True
    for field, value in found.items():
        yield Objection(
            Reason.UNCONFINED_NOT_ALLOWED,
            f"{where}.{field}",
            value,
            "containers keep the confinement that their runtime gives them",
            "podSecurity.unconfined: true",
        )


def _of_container(
    where: str, container: Object, policy: Policy, secret: str | None
) -> Iterator[Objection]:
    for port in container.get("ports") or []:
        number = port.get("hostPort")
        if number and number not in policy.host_ports:
            yield Objection(
                Reason.HOST_PORT_NOT_ALLOWED,
                f"{where}.ports.hostPort",
                number,
                "containers take no ports of their node",
                f"podSecurity.hostPorts: [{number}]",
            )
    names = [
        ((entry.get("valueFrom") or {}).get("secretKeyRef") or {}).get("name")
        for entry in container.get("env") or []
    ]
    names += [
        (entry.get("secretRef") or {}).get("name") for entry in container.get("envFrom") or []
    ]
    yield from _of_secrets(where, names, secret)


def _of_secrets(where: str, names: Iterable[object], own: str | None) -> Iterator[Objection]:
    for name in names:
        if name is not None and name != own and _KERNEL_SECRET.fullmatch(str(name)):
            yield Objection(
                Reason.SECRET_NOT_ALLOWED,
                f"{where}.secret",
                name,
                "this is the key of another kernel",
                None,
            )


def _is_below(path: str, allowed: Iterable[str]) -> bool:
    """Whether a path is one of those, or in one of them."""
    if ".." in path.split("/"):
        return False
    return any(path == one or path.startswith(one.rstrip("/") + "/") for one in allowed)

"""From a JupyterKernelSpec and its JupyterKernelTemplate to what a kernel's start needs.

The gateway uses it twice: `kernelspec_json` for the list that JupyterLab shows, `kernel_template`
for the pod template that goes into a JupyterKernel. Pure.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import NamedTuple

from hub_service.kernelspecs import packages, parameters
from hub_service.kinds import (
    ANNOTATION_MOUNT_HOME,
    ANNOTATION_RESTART_IN_PLACE,
    COMPONENT_KERNEL,
    CONNECTION_FILE,
    Object,
    Reason,
    name_of,
    spec_of,
)
from hub_service.pods import podtemplate

DEFAULT_COMMAND = ("python3", "-m", "ipykernel_launcher", "-f", "{connection_file}")
CONNECTION_PLACEHOLDER = "{connection_file}"
INTERRUPT_MODES = ("message", "signal")
CURVE = "curve"  # of spec.encryption
# ipykernel writes its connection file again if there are keys for encryption in it, and ends if it
# can't, as with one from a Secret.
_COPY_OF_CONNECTION_FILE = "/tmp/elastic-connection.json"  # noqa: S108 - nobody else is in there
_WITH_COPY = (
    "sh",
    "-c",
    f'umask 077 && cp {CONNECTION_FILE} {_COPY_OF_CONNECTION_FILE} && exec "$@"',
    "sh",
)

# The launcher of elastic-jupyter-operator's images: it means "the default command".
_LAUNCHER = "kubeflow-launcher"
_PROXY_CLASS = "KubeflowProcessProxy"
# What Enterprise Gateway fills in for its own launchers. Nothing does here.
_FOREIGN_PLACEHOLDERS = ("{response_address}", "{port_range}", "{public_key}", "{kernel_id}")


# Fields of a pod that a spec may set in place of its template.
_POD_FIELDS = (
    "tolerations",
    "nodeSelector",
    "runtimeClassName",
    "priorityClassName",
    "imagePullSecrets",
)
# Fields that the service reads off the template.
_ANNOTATIONS = {"restartInPlace": ANNOTATION_RESTART_IN_PLACE, "home": ANNOTATION_MOUNT_HOME}
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - where shared memory is, and no temporary file
_SHARED_MEMORY_VOLUME = "elastic-shared-memory"


class KernelSpecError(ValueError):
    """A spec that no kernel can be started from: which field, its value, and the way out.

    `reason` is the constant of the spec's condition Accepted.
    """

    def __init__(
        self, spec: str, reason: str, field: str, value: object, problem: str, way_out: str
    ) -> None:
        super().__init__(f"JupyterKernelSpec {spec}: {field} ({value!r}): {problem}. {way_out}.")
        self.reason = reason
        self.field = field
        self.value = value
        self.way_out = way_out


class KernelTemplate(NamedTuple):
    """A pod template, and sentences about what of the template is not in it.

    values: of the spec's parameters, by variable, as they were carried out.
    """

    template: Object
    left_out: list[str]
    values: Mapping[str, str]


def template_reference(spec: Object) -> tuple[str, str] | None:
    """(namespace, name) of the JupyterKernelTemplate that a JupyterKernelSpec names, if any."""
    reference = spec_of(spec).get("template")
    if not reference:
        return None
    return reference.get("namespace") or spec["metadata"]["namespace"], reference["name"]


def kernelspec_json(spec: Object, title: str = "") -> Object:
    """The kernel.json of a JupyterKernelSpec, as Jupyter's kernelspec API has it.

    title: what a variant of it adds to the display name.

    `argv` is what the container runs; a spec that can't be started is listed all the same, and
    says why when it is.
    """
    fields = spec_of(spec)
    name = fields.get("displayName") or name_of(spec)
    return {
        "argv": _command(fields) or list(DEFAULT_COMMAND),
        "display_name": f"{name} ({title})" if title else name,
        "language": fields.get("language") or "python",
        "interrupt_mode": fields.get("interruptMode") or INTERRUPT_MODES[0],
        "env": {},
        "metadata": {},
    }


def kernel_template(
    spec: Object,
    template: Object | None,
    *,
    forbidden: bool = False,
    values: Mapping[str, str] | None = None,
) -> KernelTemplate:
    """The pod template for kernels of a spec.

    `template` is the JupyterKernelTemplate that the spec names, None where it names none or it
    isn't there; `forbidden`: it may not be read. The spec's own image, command, environment,
    resources and fields of the pod win over the template's. `values` of the spec's parameters, by
    variable. Raises KernelSpecError, and ParameterError for a value that isn't allowed.
    """
    name = name_of(spec)
    if wrong := parameters.problem(spec):
        raise KernelSpecError(name, Reason.INVALID_PARAMETER, *wrong)
    chosen = parameters.choose(spec, values or {})
    fields = {**spec_of(spec), **chosen.fields}
    _check_class(name, fields)
    reference = template_reference(spec)
    if reference and template is None:
        raise _without_template(spec, reference, forbidden=forbidden)
    base: Object = (spec_of(template).get("template") if template else None) or {}
    metadata = podtemplate.metadata(base)
    pod_spec: Object = copy.deepcopy(base.get("spec") or {})
    result = {
        "metadata": {"labels": metadata.labels, "annotations": metadata.annotations},
        "spec": pod_spec,
    }
    for field, annotation in _ANNOTATIONS.items():
        if fields.get(field) is not None:
            metadata.annotations[annotation] = str(fields[field]).lower()
    if not pod_spec.get("containers"):
        pod_spec["containers"] = [{"name": COMPONENT_KERNEL}]
    container = pod_spec["containers"][podtemplate.kernel_index(result)]
    _fill(container, fields)
    _fill_pod(pod_spec, container, fields)
    if not container.get("image"):
        raise KernelSpecError(
            name,
            Reason.NO_IMAGE,
            "spec.image",
            container.get("image"),
            "neither the spec nor its template's container names an image",
            "Set spec.image to an image with a Jupyter kernel in it",
        )
    _check_command(name, container)
    _check_quantities(name, pod_spec)
    set_values(container, chosen.values)
    if chosen.packages:
        packages.install(pod_spec, container, chosen.packages, chosen.source)
    return KernelTemplate(result, metadata.left_out, chosen.values)


def _fill(container: Object, fields: Object) -> None:
    """Put the spec's fields into the kernel's container."""
    if fields.get("image"):
        container["image"] = fields["image"]
    command = _command(fields)
    if command is None and not (container.get("command") or container.get("args")):
        command = list(DEFAULT_COMMAND)
    if command is not None:
        container["command"] = command
        container.pop("args", None)
    encrypted = fields.get("encryption") == CURVE
    file = _COPY_OF_CONNECTION_FILE if encrypted else CONNECTION_FILE
    for part in ("command", "args"):
        if part in container:
            container[part] = [
                word.replace(CONNECTION_PLACEHOLDER, file) for word in container[part]
            ]
    if encrypted and container.get("command"):
        container["command"] = [*_WITH_COPY, *container["command"]]
    if fields.get("env"):
        own = {variable["name"] for variable in fields["env"]}
        kept = [variable for variable in container.get("env") or [] if variable["name"] not in own]
        container["env"] = kept + copy.deepcopy(fields["env"])
    if fields.get("resources"):
        container["resources"] = copy.deepcopy(fields["resources"])


def set_values(container: Object, values: Mapping[str, str]) -> None:
    """Give the kernel's container variables with these texts.

    First, so that the spec's own variables can refer to them; with `$` doubled, so that Kubernetes
    does not take a person's text for such a reference.
    """
    if values:
        kept = [entry for entry in container.get("env") or [] if entry["name"] not in values]
        ours = [{"name": name, "value": text.replace("$", "$$")} for name, text in values.items()]
        container["env"] = ours + kept


def _fill_pod(pod_spec: Object, container: Object, fields: Object) -> None:
    """Put the spec's fields of the pod in the place of the template's."""
    for field in _POD_FIELDS:
        if fields.get(field):
            pod_spec[field] = copy.deepcopy(fields[field])
    size = fields.get("sharedMemory")
    if not size:
        return
    volumes, mounts = pod_spec.get("volumes") or [], container.get("volumeMounts") or []
    memory = {
        "name": _SHARED_MEMORY_VOLUME,
        "emptyDir": {"medium": "Memory", "sizeLimit": size},
    }
    others = [mount for mount in mounts if mount.get("mountPath") != _SHARED_MEMORY]
    pod_spec["volumes"] = [*volumes, memory]
    mount = {"name": _SHARED_MEMORY_VOLUME, "mountPath": _SHARED_MEMORY}
    container["volumeMounts"] = [*others, mount]


def _without_template(
    spec: Object, reference: tuple[str, str], *, forbidden: bool
) -> KernelSpecError:
    where, problem = "/".join(reference), "there is no such JupyterKernelTemplate"
    reason, way_out = Reason.TEMPLATE_NOT_FOUND, "Create it, or remove spec.template"
    if forbidden:
        namespace, own = reference[0], spec["metadata"]["namespace"]
        reason = Reason.TEMPLATE_FORBIDDEN
        problem = f"JupyterKernelTemplates of namespace {namespace} may not be read from here"
        way_out = (
            f"In {namespace}, give the right to get it to the group system:serviceaccounts:{own} "
            "and to the hub's ServiceAccount by a Role and RoleBinding, or use a template of "
            f"namespace {own}"
        )
    return KernelSpecError(name_of(spec), reason, "spec.template", where, problem, way_out)


def _command(fields: Object) -> list[str] | None:
    """The spec's own command; None where it has none or means the default one."""
    command = list(fields.get("command") or [])
    return command if command and command[0] != _LAUNCHER else None


def _check_class(name: str, fields: Object) -> None:
    given = fields.get("className")
    if given and not given.endswith(f".{_PROXY_CLASS}") and given != _PROXY_CLASS:
        raise KernelSpecError(
            name,
            Reason.UNKNOWN_CLASS,
            "spec.className",
            given,
            "kernels run as JupyterKernels, and no other process proxy is served",
            "Remove spec.className",
        )


def _check_command(name: str, container: Object) -> None:
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    for placeholder in _FOREIGN_PLACEHOLDERS:
        if any(placeholder in word for word in words):
            raise KernelSpecError(
                name,
                Reason.FOREIGN_PLACEHOLDER,
                "spec.command",
                words,
                f"nothing fills in {placeholder}, which Enterprise Gateway's own launchers take",
                f"Use the kernel's ordinary command, with {CONNECTION_PLACEHOLDER}",
            )


def _check_quantities(name: str, pod_spec: Object) -> None:
    problem = podtemplate.invalid_quantity({"spec": pod_spec})
    if problem:
        raise KernelSpecError(
            name,
            Reason.INVALID_QUANTITY,
            problem.field,
            problem.value,
            "this is no quantity of Kubernetes",
            "Write a number, with a suffix where one is meant (500m, 2Gi)",
        )

"""What a warm pod is, which specs can have some, and which kernel may get one. Pure.

A pod's volumes, variables and command can't be changed once it runs. So a kernel gets a warm pod
only if the pod that would be made for it is the same, but for what can be given late: its labels,
annotations and owner, its connection file, the folder it starts in, and the variables that name it
and its user. All that `likeness` doesn't leave out has to be equal.
"""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Iterable
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import NamedTuple

from hub_service import homes, timestamps
from hub_service.kernels import inplace, kernel
from hub_service.kinds import (
    ANNOTATION_CLAIMED_AT,
    ANNOTATION_CLAIMED_FOR,
    ANNOTATION_WARM_LIKENESS,
    ANNOTATION_WARM_REVISION,
    CONNECTION_DIRECTORY,
    GROUP,
    JUPYTER_KERNEL_SPECS,
    LABEL_COMPONENT,
    LABEL_KERNEL_SPEC,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    LABEL_WARM,
    Object,
    annotations_of,
    controller,
    is_deleting,
    name_of,
    namespace_of,
    owner_reference,
    spec_of,
    status_of,
    uid_of,
)
from hub_service.pods import podtemplate

# Given late: by the process itself, before the kernel's first line.
_LATE = ("KERNEL_ID", "KERNEL_USERNAME", "KERNEL_LANGUAGE", homes.WORKING_DIRECTORY)
_OUR_LABELS = (LABEL_NAME, LABEL_COMPONENT, LABEL_MANAGED_BY)
_PIPE = f"{CONNECTION_DIRECTORY}/claim"
_PYTHON = re.compile(r"(.*/)?python(\d+(\.\d+)?)?")
_MODULE = "-m"
# Options of the interpreter that take a word of their own, or name what is run.
_NOT_FLAGS = ("-c", "-W", "-X", "--check-hash-based-pycs")
_PROBES = ("startupProbe", "readinessProbe", "livenessProbe")

# Loading the imports is waited for, for as long as it takes (failureThreshold seconds).
_STARTED = {
    "exec": {"command": ["/bin/sh", "-c", f"[ -p {_PIPE} ]"]},
    "periodSeconds": 1,
    "timeoutSeconds": 5,
    "failureThreshold": 900,
}
# The line comes on the standard input, as what is in it must not be in an address.
_DELIVER = """
[ -p "$1" ] || exit 3
IFS= read -r line || exit 4
printf '%s\\n' "$line" > "$1"
"""
DELIVER = ("/bin/sh", "-c", _DELIVER, "deliver", _PIPE)


class Wish(NamedTuple):
    """What a spec asks for: so many pods, with these modules imported."""

    pods: int
    imports: tuple[str, ...]


def wish(spec: Object) -> Wish:
    """`spec.warm` of a JupyterKernelSpec; no pods where there is none."""
    asked: Object = spec_of(spec).get("warm") or {}
    return Wish(int(asked.get("pods") or 0), tuple(asked.get("imports") or ()))


@cache
def boot_text() -> str:
    """The program that waits in warm pods."""
    return (files("hub_service.warm") / "boot.py").read_text(encoding="utf-8")


def prototype(spec: Object, template: Object) -> Object:
    """A kernel of the spec that is nobody's, for the pod that would be made for it."""
    return {
        "metadata": {"name": f"{name_of(spec)}-warm", "namespace": namespace_of(spec), "uid": ""},
        "spec": {"kernelSpecName": name_of(spec), "connectionSecret": "warm", "template": template},
    }


def problem(pod: Object, *, encrypted: bool, home: bool, gpus: bool) -> str | None:
    """Why no kernel of a spec could have a warm pod, in a sentence; None where it can.

    pod: of `prototype`, furnished; encrypted: spec.encryption is curve; home: whether kernels have
    their user's files; gpus: whether warm pods may hold GPUs.
    """
    container = _container(pod)
    if home:
        return (
            "Kernels have their user's files, which can't be mounted in a pod that runs: set "
            "home: false in the spec, if its kernels need none of them."
        )
    if podtemplate.gpus(pod) and not gpus:
        return (
            "Warm pods would hold GPUs while nobody uses them: an administrator may allow that "
            "with warmKernels.gpus."
        )
    if encrypted:
        return "With encryption: curve kernels make a copy of their key first: use one or other."
    if _words(container) is None:
        return "Only kernels that are started by python -m can wait: see spec.command."
    values = [str(entry.get("value", "")) for entry in container.get("env") or []]
    every = [*(spec_of(pod).get("initContainers") or []), *podtemplate.containers(pod)]
    mounts = [mount for one in every for mount in one.get("volumeMounts") or []]
    paths = [mount.get("subPathExpr") or "" for mount in mounts]
    for text in [*_command(container), *values, *paths]:
        if any(f"$({name})" in text for name in _LATE):
            return f"{text!r} holds a variable which has no value before somebody claims the pod."
    for field in _PROBES:
        if container.get(field):
            return f"The template's container has a {field}, which a pod that waits would fail."
    if (container.get("lifecycle") or {}).get("postStart"):
        return (
            "The template's container has a postStart hook, which would run before somebody "
            "claims the pod."
        )
    if spec_of(pod).get("activeDeadlineSeconds") is not None:
        return (
            "The template has activeDeadlineSeconds, which count from the pod's start, before "
            "somebody claims it."
        )
    for one in every:
        for entry in one.get("env") or []:
            path = ((entry.get("valueFrom") or {}).get("fieldRef") or {}).get("fieldPath", "")
            if path.startswith(("metadata.labels", "metadata.annotations")):
                return (
                    f"The variable {entry.get('name')} comes from {path}, which is not known "
                    "before somebody claims the pod: remove it."
                )
    return None


def likeness(pod: Object) -> str:
    """What two kernels' pods have in common if one may stand in for the other, as a short text."""
    metadata = pod["metadata"]
    spec = copy.deepcopy(spec_of(pod))
    spec.pop("schedulingGates", None)
    spec["volumes"] = [
        v for v in spec.get("volumes") or [] if v["name"] != kernel.CONNECTION_VOLUME
    ]
    container = spec["containers"][podtemplate.kernel_index(pod)]
    entries = container.get("env") or []
    if any(entry.get("name") == homes.WORKING_DIRECTORY for entry in entries):
        container.pop("workingDir", None)
    container["env"] = [entry for entry in entries if entry.get("name") not in _LATE]
    mounts = container.get("volumeMounts") or []
    container["volumeMounts"] = [m for m in mounts if m["name"] != kernel.CONNECTION_VOLUME]
    content = {
        "spec": spec,
        "labels": _of_template(metadata.get("labels") or {}),
        "annotations": _of_template(metadata.get("annotations") or {}),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def of_spec(spec: Object, pod: Object) -> Object:
    """The pod that waits. `pod`: that of `prototype`, furnished, without a `problem`."""
    imports = ",".join(wish(spec).imports)
    alike = likeness(pod)
    result = copy.deepcopy(pod)
    container = _container(result)
    flags, module, words = _words(container) or ([], "", [])
    command = [*flags, "-c", boot_text(), CONNECTION_DIRECTORY, imports, module, *words]
    if inplace.is_supervised(container):
        command = [*inplace.COMMAND, *command]
    container["command"] = command
    container.pop("args", None)
    container["startupProbe"] = _STARTED
    for mount in container.get("volumeMounts") or []:
        if mount["name"] == kernel.CONNECTION_VOLUME:
            mount.pop("readOnly", None)
    memory = {
        "name": kernel.CONNECTION_VOLUME,
        "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"},
    }
    volumes = result["spec"].get("volumes") or []
    result["spec"]["volumes"] = [
        memory if v["name"] == kernel.CONNECTION_VOLUME else v for v in volumes
    ]
    given = result["metadata"]
    revision = hashlib.sha256(f"{alike} {imports} {boot_text()}".encode()).hexdigest()[:32]
    result["metadata"] = {
        "generateName": f"{name_of(spec)[:40]}-warm-",
        "namespace": namespace_of(spec),
        "labels": {**given.get("labels", {}), LABEL_WARM: "true"},
        "annotations": {
            **given.get("annotations", {}),
            ANNOTATION_WARM_LIKENESS: alike,
            ANNOTATION_WARM_REVISION: revision,
        },
        "ownerReferences": [owner_reference(spec, JUPYTER_KERNEL_SPECS)],
    }
    return result


def is_waiting(pod: Object) -> bool:
    """Whether a pod waits for a kernel, or is made ready to."""
    return LABEL_WARM in (pod["metadata"].get("labels") or {})


def pool_of(pod: Object) -> str | None:
    """Index of pods that wait by their JupyterKernelSpec, as the text of its key."""
    if not is_waiting(pod):
        return None
    reference = controller(pod, JUPYTER_KERNEL_SPECS.kind)
    return f"{namespace_of(pod)}/{reference['name']}" if reference else None


def is_ready(pod: Object) -> bool:
    """Whether a pod that waits has its imports loaded."""
    if is_deleting(pod) or status_of(pod).get("phase") != "Running":
        return False
    name = _container(pod)["name"]
    return any(
        one.get("name") == name and one.get("started") and "running" in (one.get("state") or {})
        for one in status_of(pod).get("containerStatuses") or []
    )


def candidates(waiting: Iterable[Object], wanted: Object) -> list[Object]:
    """Of pods that wait, those that a kernel may have in the place of its `wanted` pod."""
    ready = [pod for pod in waiting if is_ready(pod)]
    if not ready:
        return []
    alike = likeness(wanted)
    same = [pod for pod in ready if annotations_of(pod).get(ANNOTATION_WARM_LIKENESS) == alike]
    return sorted(same, key=lambda pod: (pod["metadata"]["creationTimestamp"], name_of(pod)))


def claim(pod: Object, wanted: Object, now: datetime) -> Object:
    """The merge patch by which a pod is the kernel's; refused where it has changed meanwhile."""
    metadata = wanted["metadata"]
    return {
        "metadata": {
            "uid": uid_of(pod),
            "resourceVersion": pod["metadata"]["resourceVersion"],
            "ownerReferences": metadata["ownerReferences"],
            "labels": {**metadata["labels"], LABEL_WARM: None},
            "annotations": {
                **metadata["annotations"],
                ANNOTATION_CLAIMED_AT: timestamps.microseconds(now),
            },
        }
    }


def delivered(item: Object) -> Object:
    """The merge patch that says that a claimed pod is this kernel, whoever looks after it next."""
    return {"metadata": {"annotations": {ANNOTATION_CLAIMED_FOR: str(kernel.incarnation(item))}}}


def is_delivered(pod: Object, incarnation: int) -> bool:
    """Whether a kernel's pod was warm, and is that incarnation of it now."""
    return annotations_of(pod).get(ANNOTATION_CLAIMED_FOR) == str(incarnation)


def delivery(wanted: Object, connection_file: str) -> bytes:
    """The line that makes a claimed pod's process the kernel whose pod would be `wanted`."""
    container = _container(wanted)
    late = {
        entry["name"]: entry["value"].replace("$$", "$")
        for entry in container.get("env") or []
        if entry.get("name") in _LATE and "value" in entry
    }
    content: Object = {"connection": connection_file, "environment": late}
    if directory := late.get(homes.WORKING_DIRECTORY):
        content |= {"directory": directory, "root": container.get("workingDir")}
    return json.dumps(content).encode() + b"\n"


def started(pod: Object, started: str | None) -> str | None:
    """Since when a pod is its kernel's: RFC 3339; not while it waited."""
    claimed = timestamps.parse(annotations_of(pod).get(ANNOTATION_CLAIMED_AT))
    return started if claimed is None or started is None else timestamps.seconds(claimed)


def _container(pod: Object) -> Object:
    found: Object = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]
    return found


def _of_template(texts: dict[str, str]) -> dict[str, str]:
    """Labels or annotations that are a template's, not ours."""
    return {
        name: text
        for name, text in texts.items()
        if name not in _OUR_LABELS
        and (not name.startswith(f"{GROUP}/") or name == LABEL_KERNEL_SPEC)
    }


def _command(container: Object) -> list[str]:
    return [*inplace.kernel_command(container), *(container.get("args") or [])]


def _words(container: Object) -> tuple[list[str], str, list[str]] | None:
    """(interpreter and its flags, module, the module's words) of `python -m`; None: otherwise."""
    words = _command(container)
    if len(words) < 3 or not _PYTHON.fullmatch(words[0]):
        return None
    for index, word in enumerate(words[1:-1], 1):
        if word == _MODULE:
            return words[:index], words[index + 1], words[index + 2 :]
        if not word.startswith("-") or word in _NOT_FLAGS:
            return None
    return None

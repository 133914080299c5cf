"""A user's files in the kernel: the volumes of their notebook's pod, and those that all share.

Which volumes are a user's is read off the pod that the hub made for them: it is the hub that says
whose they are, and never a client. They are mounted in the kernel's pod at the same paths. A volume
that one node only can use at a time brings the kernel to that node. Pure.
"""

from __future__ import annotations

import copy
import json
import posixpath
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from hub_service.kinds import (
    ANNOTATION_HOME,
    ANNOTATION_HOME_CLAIM,
    ANNOTATION_HOME_NODE,
    ANNOTATION_MOUNT_HOME,
    COMPONENT_HUBS_NOTEBOOK,
    COMPONENT_NOTEBOOK,
    CONNECTION_DIRECTORY,
    GROUP,
    LABEL_COMPONENT,
    LABEL_NOTEBOOK,
    Object,
    Reason,
    name_of,
    namespace_of,
    spec_of,
    status_of,
)
from hub_service.names import user_slug
from hub_service.pods import podtemplate

# What a volume may be made of to be a user's: others end with the notebook's pod, or are its own.
_LASTING = ("persistentVolumeClaim", "nfs")
_OWNER, _SERVER = "hub.jupyter.org/username", "hub.jupyter.org/servername"
WORKING_DIRECTORY = "KERNEL_WORKING_DIR"
_HOSTNAME = "kubernetes.io/hostname"
_LABEL_HOME = f"{GROUP}/home"


class Mount(NamedTuple):
    """Where a volume is mounted; `source` is the volume's, as in a pod: {"nfs": {...}}."""

    path: str
    source: Object
    sub_path: str | None = None
    read_only: bool = False

    @property
    def claim(self) -> str | None:
        """The name of its PersistentVolumeClaim, if it is one's."""
        claim: Object = self.source.get("persistentVolumeClaim") or {}
        return claim.get("claimName")

    @property
    def title(self) -> str:
        """What it is, for people."""
        if self.claim is not None:
            return f"{self.claim} at {self.path}"
        share: Object = self.source.get("nfs") or {}
        return f"{share.get('server')}:{share.get('path')} at {self.path}"


class Home(NamedTuple):
    """What a kernel's user has: where their files are, who writes them, and in whose words.

    identity: runAsUser, runAsGroup, fsGroup and supplementalGroups, as far as they are set.
    origin: names what it was read off, as the rest of a sentence.
    """

    mounts: tuple[Mount, ...]
    identity: Object
    origin: str


class Report(NamedTuple):
    """What became of a kernel's home: for the condition HomeMounted."""

    holds: bool
    reason: str
    message: str


class JobHome(NamedTuple):
    """Where homes are of those whose kernels belong to no server; {username} stands for them."""

    claim: str
    path: str
    sub_path: str | None = None


class Rule(NamedTuple):
    """What the administrator set.

    volumes: names of the notebook pod's volumes that are taken; empty: all that last.
    without: whether a kernel that can't run where the home is starts without it, rather than fail.
    shared: what every kernel has.
    """

    enabled: bool = True
    volumes: tuple[str, ...] = ()
    without: bool = False
    jobs: JobHome | None = None
    shared: tuple[Mount, ...] = ()


def is_wanted(template: Object) -> bool:
    """Whether kernels of a pod template are to have their user's home."""
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    return annotations.get(ANNOTATION_MOUNT_HOME) != "false"


def server_of_pod(pod: Object) -> str | None:
    """Index of notebook servers' pods by whose they are; as `server_of_kernel`.

    The hub writes names as they are into annotations: labels have them shortened.
    """
    labels, annotations = pod["metadata"].get("labels") or {}, pod["metadata"].get("annotations")
    if labels.get(LABEL_COMPONENT) == COMPONENT_NOTEBOOK:
        return _key(namespace_of(pod), "notebook", labels.get(LABEL_NOTEBOOK, ""))
    owner = (annotations or {}).get(_OWNER)
    if labels.get(LABEL_COMPONENT) != COMPONENT_HUBS_NOTEBOOK or owner is None:
        return None
    return _key(namespace_of(pod), "server", owner, (annotations or {}).get(_SERVER, ""))


def server_of_kernel(kernel: Object) -> str | None:
    """The pod in the kernel's namespace that has the files of its user; None where none can.

    A kernel that belongs to no server has those of its owner's default one.
    """
    spec = spec_of(kernel)
    if notebook := spec.get("notebook"):
        # A pod can mount what is in its own namespace.
        return (
            _key(namespace_of(kernel), "notebook", notebook["name"])
            if (notebook.get("namespace", namespace_of(kernel)) == namespace_of(kernel))
            else None
        )
    if spec.get("owner") is None:
        return None
    return _key(namespace_of(kernel), "server", spec["owner"], spec.get("server") or "")


def of_pod(pod: Object, names: Collection[str] = ()) -> Home:
    """The lasting volumes of a notebook server's pod; of those names only, where any are given."""
    spec = spec_of(pod)
    container = _container(spec, COMPONENT_NOTEBOOK)
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    mounts = []
    for mount in container.get("volumeMounts") or []:
        volume: Object = volumes.get(mount["name"]) or {}
        source = {kind: copy.deepcopy(volume[kind]) for kind in _LASTING if volume.get(kind)}
        # An expression would be of the notebook's own variables.
        if source and not mount.get("subPathExpr") and (not names or mount["name"] in names):
            read_only = bool(mount.get("readOnly"))
            mounts.append(Mount(mount["mountPath"], source, mount.get("subPath"), read_only))
    identity = _identity(spec, container)
    return Home(tuple(mounts), identity, f"the notebook server's pod {name_of(pod)}")


def of_job(owner: str, rule: JobHome) -> Home:
    """The home of somebody whose kernel belongs to no server that runs."""
    claim, path, sub_path = (
        text and text.replace("{username}", user_slug(owner))
        for text in (rule.claim, rule.path, rule.sub_path)
    )
    mount = Mount(str(path), {"persistentVolumeClaim": {"claimName": claim}}, sub_path)
    return Home((mount,), {}, "the setting homes.jobs")


def is_somebody_elses(claim: Object, owner: str) -> bool:
    """Whether the hub has made a claim for another user than this one."""
    made_for = (claim["metadata"].get("annotations") or {}).get(_OWNER)
    return made_for not in (None, owner)


def furnish(
    pod: Object, mounts: Iterable[Mount], *, identity: Object | None = None
) -> tuple[Object, list[str], list[str]]:
    """A kernel's pod with these mounts; titles of those that are there; sentences on others.

    What the pod's template mounts at a path stays. `identity`: see Home; the template's own stays
    as well.
    """
    pod = copy.deepcopy(pod)
    spec = pod["spec"]
    container = spec["containers"][podtemplate.kernel_index(pod)]
    taken = {_plain(mount["mountPath"]) for mount in container.get("volumeMounts") or []}
    there, missing = [], []
    for mount in mounts:
        path = _plain(mount.path)
        if path in taken or _holds(path, CONNECTION_DIRECTORY):
            missing.append(f"{mount.title} is not mounted: the kernel's template has that path.")
            continue
        taken.add(path)
        _mount(spec, container, mount)
        there.append(mount.title)
    if there and identity:
        _write_as(spec, container, identity)
    return pod, there, missing


def started_in(pod: Object, folder: str) -> tuple[Object, str | None]:
    """A kernel's pod that starts in a folder, if that is on one of its volumes; else why not.

    The container starts where the volume is mounted, which is there for certain, and its first
    process goes to the folder, or stays and says so: a folder that is not there would be made by
    the container's runtime, as root.
    """
    pod = copy.deepcopy(pod)
    spec = pod["spec"]
    container = spec["containers"][podtemplate.kernel_index(pod)]
    if own := container.get("workingDir"):
        return pod, None if own == folder else f"It starts in {own}, as its template says."
    volumes = {volume["name"]: volume for volume in spec.get("volumes") or []}
    roots = [
        _plain(mount["mountPath"])
        for mount in container.get("volumeMounts") or []
        if any(kind in volumes.get(mount["name"], {}) for kind in _LASTING)
        and _holds(_plain(mount["mountPath"]), folder)
    ]
    if not roots:
        return pod, f"The notebook's folder {folder} is on no volume that the kernel has too."
    container["workingDir"] = max(roots, key=len)
    others = [one for one in container.get("env") or [] if one.get("name") != WORKING_DIRECTORY]
    variable = {"name": WORKING_DIRECTORY, "value": folder.replace("$", "$$")}
    container["env"] = [*others, variable]
    return pod, None


def with_shared(pod: Object, mounts: Iterable[Mount]) -> Object:
    """A notebook's pod with these volumes in its own container, but where it has something else.

    Idempotent.
    """
    pod = copy.deepcopy(pod)
    container = _container(pod["spec"], COMPONENT_NOTEBOOK)
    taken = {_plain(mount["mountPath"]) for mount in container.get("volumeMounts") or []}
    for mount in mounts:
        if _plain(mount.path) not in taken:
            _mount(pod["spec"], container, mount)
    return pod


def bound_to_one_node(
    mounts: Sequence[Mount], claims: Mapping[str, Object]
) -> tuple[list[Mount], list[Mount]]:
    """The mounts that one node only can have at a time, and those that one pod only can.

    claims: PersistentVolumeClaims by name; of those that aren't known nothing is said.
    """
    one_node: list[Mount] = []
    one_pod: list[Mount] = []
    for mount in mounts:
        claim = claims.get(mount.claim or "")
        if claim is None:
            continue
        modes = status_of(claim).get("accessModes") or spec_of(claim).get("accessModes") or []
        if "ReadWriteMany" in modes or ("ReadOnlyMany" in modes and mount.read_only):
            continue
        (one_pod if modes == ["ReadWriteOncePod"] else one_node).append(mount)
    return one_node, one_pod


def node_that_has(claims: Collection[str], pods: Iterable[Object]) -> str | None:
    """The node where pods have one of these claims, of pods of its namespace; None: nowhere yet."""
    for pod in pods:
        node = spec_of(pod).get("nodeName")
        if not node or status_of(pod).get("phase") in ("Succeeded", "Failed"):
            continue
        for volume in spec_of(pod).get("volumes") or []:
            if (volume.get("persistentVolumeClaim") or {}).get("claimName") in claims:
                return str(node)
    return None


def placed(pod: Object, claim: str, node: str | None) -> Object:
    """The pod, to be run on that node; where none is given, on one with others that have the claim.

    The claim is remembered on the pod, for those that come after.
    """
    pod = copy.deepcopy(pod)
    metadata, spec = pod["metadata"], pod["spec"]
    metadata["annotations"] = {**(metadata.get("annotations") or {}), ANNOTATION_HOME_CLAIM: claim}
    label = user_slug(claim)
    metadata["labels"] = {**(metadata.get("labels") or {}), _LABEL_HOME: label}
    affinity = spec["affinity"] = dict(spec.get("affinity") or {})
    if node is None:
        # A pod that is the first of those with the label may go anywhere.
        term = {"labelSelector": {"matchLabels": {_LABEL_HOME: label}}, "topologyKey": _HOSTNAME}
        present: Object = dict(affinity.get("podAffinity") or {})
        field = "requiredDuringSchedulingIgnoredDuringExecution"
        affinity["podAffinity"] = {**present, field: [*(present.get(field) or []), term]}
        return pod
    metadata["annotations"][ANNOTATION_HOME_NODE] = node
    affinity["nodeAffinity"] = _on_node(affinity.get("nodeAffinity") or {}, node)
    return pod


def with_report(pod: Object, report: Report) -> Object:
    """The pod with what is to be said of its home: it outlives who made the pod."""
    metadata = pod["metadata"]
    annotations = {**(metadata.get("annotations") or {}), ANNOTATION_HOME: json.dumps(report)}
    return {**pod, "metadata": {**metadata, "annotations": annotations}}


def report_of(pod: Object) -> Report | None:
    """What is to be said of the home in a kernel's pod, if anything is."""
    text = (pod["metadata"].get("annotations") or {}).get(ANNOTATION_HOME)
    if not text:
        return None
    try:
        holds, reason, message = json.loads(text)
    except (TypeError, ValueError):
        return None  # somebody else's annotation
    return Report(bool(holds), str(reason), str(message))


def describe(
    there: Sequence[str],
    missing: Sequence[str],
    *,
    elsewhere: bool = False,
    folder: str | None = None,
) -> Report:
    """What became of a kernel's home, in one report, of sentences.

    there, missing: of volumes; elsewhere: the home could not come along; folder: what is to be said
    of the kernel's.
    """
    said = [folder] if folder and (there or elsewhere) else []
    message = " ".join([*there, *missing, *said])
    if elsewhere:
        return Report(False, Reason.HOME_ELSEWHERE, message)
    if not there:
        return Report(False, Reason.NO_HOME, message)
    if said:
        return Report(True, Reason.FOLDER_NOT_MOUNTED, message)
    return Report(True, Reason.PARTLY_MOUNTED if missing else Reason.MOUNTED, message)


def _key(*parts: str) -> str:
    return json.dumps(parts)


def _container(spec: Object, name: str) -> Object:
    containers: list[Object] = spec.get("containers") or [{}]
    return next((one for one in containers if one.get("name") == name), containers[0])


def _identity(spec: Object, container: Object) -> Object:
    of_pod, of_container = spec.get("securityContext") or {}, container.get("securityContext") or {}
    merged = {**of_pod, **of_container}
    result = {name: merged[name] for name in ("runAsUser", "runAsGroup") if merged.get(name)}
    for name in ("fsGroup", "supplementalGroups"):
        if of_pod.get(name) is not None:
            result[name] = of_pod[name]
    return result


def _write_as(spec: Object, container: Object, identity: Object) -> None:
    """Let what the kernel writes belong to whom the notebook's files belong to."""
    context = spec["securityContext"] = dict(spec.get("securityContext") or {})
    own = {**context, **(container.get("securityContext") or {})}
    if "runAsUser" not in own:
        for name in ("runAsUser", "runAsGroup"):
            if name in identity:
                context.setdefault(name, identity[name])
    if "fsGroup" in identity and "fsGroup" not in context:
        context["fsGroup"] = identity["fsGroup"]
        # Else each start would go through all files of a home.
        context.setdefault("fsGroupChangePolicy", "OnRootMismatch")
    groups = [*(context.get("supplementalGroups") or []), *identity.get("supplementalGroups", [])]
    if groups:
        context["supplementalGroups"] = list(dict.fromkeys(groups))


def _mount(spec: Object, container: Object, mount: Mount) -> None:
    volumes = spec["volumes"] = list(spec.get("volumes") or [])
    for volume in volumes:
        if volume["name"].startswith("elastic-home-") and mount.source.items() <= volume.items():
            name = volume["name"]
            break
    else:
        name = f"elastic-home-{sum(v['name'].startswith('elastic-home-') for v in volumes)}"
        volumes.append({"name": name, **copy.deepcopy(mount.source)})
    entry: Object = {"name": name, "mountPath": mount.path}
    if mount.sub_path:
        entry["subPath"] = mount.sub_path
    if mount.read_only:
        entry["readOnly"] = True
    container["volumeMounts"] = [*(container.get("volumeMounts") or []), entry]


def _on_node(present: Object, node: str) -> Object:
    """A nodeAffinity that allows one node, and what was asked for besides."""
    field = "requiredDuringSchedulingIgnoredDuringExecution"
    pin = {"key": "metadata.name", "operator": "In", "values": [node]}
    # Terms are alternatives, so each has to name the node.
    terms = (present.get(field) or {}).get("nodeSelectorTerms") or [{}]
    pinned = [{**term, "matchFields": [*(term.get("matchFields") or []), pin]} for term in terms]
    return {**present, field: {"nodeSelectorTerms": pinned}}


def _plain(path: str) -> str:
    return posixpath.normpath(path)


def _holds(folder: str, path: str) -> bool:
    """Whether a path is a folder or below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")

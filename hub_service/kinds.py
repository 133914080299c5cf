"""Names shared by everything that reads or writes the cluster: kinds, labels, conditions, phases.

The bottom of the import order: standard library only, no I/O. Objects of the cluster are plain
dicts, as in the API server's JSON (`Object`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """One kind of the API: `plural` is its name in URLs, an empty `group` is the core API."""

    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        """The `apiVersion` of objects of this kind."""
        return f"{self.group}/{self.version}" if self.group else self.version


GROUP = "kubeflow.tkestack.io"
VERSION = "v1alpha1"

JUPYTER_KERNELS = Resource(GROUP, VERSION, "jupyterkernels", "JupyterKernel")
JUPYTER_KERNEL_SPECS = Resource(GROUP, VERSION, "jupyterkernelspecs", "JupyterKernelSpec")
JUPYTER_KERNEL_TEMPLATES = Resource(
    GROUP, VERSION, "jupyterkerneltemplates", "JupyterKernelTemplate"
)
JUPYTER_GATEWAYS = Resource(GROUP, VERSION, "jupytergateways", "JupyterGateway")
JUPYTER_NOTEBOOKS = Resource(GROUP, VERSION, "jupyternotebooks", "JupyterNotebook")
JUPYTER_LEDGERS = Resource(GROUP, VERSION, "jupyterledgers", "JupyterLedger")

# Of Kueue, where it is installed.
KUEUE = "kueue.x-k8s.io"
WORKLOADS = Resource(KUEUE, "v1beta1", "workloads", "Workload")

PODS = Resource("", "v1", "pods", "Pod")
SECRETS = Resource("", "v1", "secrets", "Secret")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace")
NODES = Resource("", "v1", "nodes", "Node")
SERVICES = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts", "ServiceAccount")
EVENTS = Resource("", "v1", "events", "Event")
DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
NETWORK_POLICIES = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding")

# Labels are for selecting; who owns a kernel is in its spec.
LABEL_KERNEL_ID = f"{GROUP}/kernel-id"
LABEL_OWNER = f"{GROUP}/owner"
LABEL_SERVER = f"{GROUP}/server"
LABEL_GATEWAY = f"{GROUP}/gateway"
LABEL_KERNEL_SPEC = f"{GROUP}/kernel-spec"
LABEL_NOTEBOOK = f"{GROUP}/notebook"
LABEL_NAME = "app.kubernetes.io/name"
LABEL_COMPONENT = "app.kubernetes.io/component"
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
APP_NAME = "elastic-kernels"
COMPONENT_KERNEL = "kernel"
COMPONENT_GATEWAY = "gateway"
COMPONENT_NOTEBOOK = "notebook"
# KubeSpawner's.
COMPONENT_HUBS_NOTEBOOK = "singleuser-server"
MANAGER = "elastic-hub-service"
# Manages the gateways that belong to one user each.
SPAWNER = "elastic-spawner"
# On such a gateway: when a server of the user's started last; and where it serves one hub server
# only, that server's name.
ANNOTATION_STARTED = f"{GROUP}/server-started"
ANNOTATION_SERVER = f"{GROUP}/server-name"

# On a JupyterKernel: the notebooks it runs for, as JSON; what a new notebook server is told.
ANNOTATION_SESSIONS = f"{GROUP}/sessions"

# The same, for the gateway's next process: what Jupyter knows the kernel's spec as (that of a
# variant has a name of its own), how it is interrupted, and that its user has shut it down.
ANNOTATION_KERNEL_NAME = f"{GROUP}/kernel-name"
ANNOTATION_INTERRUPT_MODE = f"{GROUP}/interrupt-mode"
# Names of variables that the client sent and its spec doesn't declare, separated by commas.
ANNOTATION_DROPPED = f"{GROUP}/variables-dropped"
ANNOTATION_SHUT_DOWN = f"{GROUP}/shut-down"
# On a pod template: "false" for kernels whose container can't be restarted in place, as without sh.
ANNOTATION_RESTART_IN_PLACE = f"{GROUP}/restart-in-place"
# On a pod template: "false" for kernels that are not to have their user's home.
ANNOTATION_MOUNT_HOME = f"{GROUP}/mount-home"
# On a kernel's pod: what its condition HomeMounted says, as JSON; the claim of its home that one
# node only can use at a time, and that node.
ANNOTATION_HOME = f"{GROUP}/home"
ANNOTATION_HOME_CLAIM = f"{GROUP}/home-claim"
ANNOTATION_HOME_NODE = f"{GROUP}/home-node"
# On pods that wait for a kernel: that they do (a label); what they are made from, and how alike a
# kernel's own pod has to be. On one that a kernel has claimed: when, and for which incarnation.
LABEL_WARM = f"{GROUP}/warm"
ANNOTATION_WARM_REVISION = f"{GROUP}/warm-revision"
ANNOTATION_WARM_LIKENESS = f"{GROUP}/warm-likeness"
ANNOTATION_CLAIMED_AT = f"{GROUP}/claimed-at"
ANNOTATION_CLAIMED_FOR = f"{GROUP}/claimed-for-incarnation"

# Zero to JupyterHub's network policies let pods with this label reach the hub.
# "true" on a NetworkPolicy of the shared namespace: users' own namespaces have it as well.
LABEL_FOR_USER_NAMESPACES = f"{GROUP}/for-user-namespaces"
LABEL_NETWORK_ACCESS_HUB = "hub.jupyter.org/network-access-hub"

# Of pods that wait in line for a GPU.
SCHEDULING_GATE = f"{GROUP}/line"

GATEWAY_PORT = 8888
NOTEBOOK_PORT = 8888

# The Secret named in spec.connectionSecret is mounted at this folder of the kernel's pod.
CONNECTION_DIRECTORY = "/run/elastic"
CONNECTION_KEY = "connection.json"
CONNECTION_FILE = f"{CONNECTION_DIRECTORY}/{CONNECTION_KEY}"

# Conditions of a JupyterKernel.
ADMITTED = "Admitted"
TEMPLATE_ACCEPTED = "TemplateAccepted"
VARIABLES_ACCEPTED = "VariablesAccepted"
RUNNING = "Running"
FAILED = "Failed"
SUCCEEDED = "Succeeded"
CULLED = "Culled"
# Of a JupyterKernel as well: whether its user's files are in it.
HOME_MOUNTED = "HomeMounted"
# Conditions of a JupyterGateway and of a JupyterNotebook.
AVAILABLE = "Available"
ACCEPTED = "Accepted"
# Of a JupyterGateway: all that spec.kernels and spec.defaultKernel name is there.
KERNEL_SPECS_FOUND = "KernelSpecsFound"
# Of a JupyterNotebook: the gateway that it names takes it.
GATEWAY_ACCEPTED = "GatewayAccepted"


class Reason:
    """Constant reasons of conditions; the message beside one has the details."""

    # Admitted
    TEMPLATE_REFUSED = "TemplateRefused"
    WITHIN_QUOTA = "WithinQuota"
    QUOTA_EXCEEDED = "QuotaExceeded"
    KERNEL_SPEC_NOT_OFFERED = "KernelSpecNotOffered"
    # TemplateAccepted (and Accepted of a gateway)
    ACCEPTED = "Accepted"
    CORRECTED = "Corrected"
    INVALID_SPEC = "InvalidSpec"
    # TemplateAccepted, Accepted of a JupyterKernelSpec, a JupyterKernelTemplate or a
    # JupyterNotebook: what a pod may not ask for
    HOST_PATH_NOT_ALLOWED = "HostPathNotAllowed"
    VOLUME_NOT_ALLOWED = "VolumeNotAllowed"
    HOST_NAMESPACE_NOT_ALLOWED = "HostNamespaceNotAllowed"
    HOST_PORT_NOT_ALLOWED = "HostPortNotAllowed"
    PRIVILEGED_NOT_ALLOWED = "PrivilegedNotAllowed"
    CAPABILITY_NOT_ALLOWED = "CapabilityNotAllowed"
    ROOT_NOT_ALLOWED = "RootNotAllowed"
    UNCONFINED_NOT_ALLOWED = "UnconfinedNotAllowed"
    SERVICE_ACCOUNT_NOT_ALLOWED = "ServiceAccountNotAllowed"
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105 - no secret
    # VariablesAccepted
    DROPPED = "Dropped"
    # HomeMounted
    MOUNTED = "Mounted"
    PARTLY_MOUNTED = "PartlyMounted"
    FOLDER_NOT_MOUNTED = "FolderNotMounted"
    NO_HOME = "NoHome"
    # Running
    WAITING_FOR_QUOTA = "WaitingForQuota"
    GROUPS_UNKNOWN = "GroupsUnknown"
    POD_RUNNING = "PodRunning"
    ANSWERING = "Answering"
    POD_NOT_MADE = "PodNotMade"
    NAMESPACE_FULL = "NamespaceFull"
    POD_PENDING = "PodPending"
    UNSCHEDULABLE = "Unschedulable"
    WAITING_IN_LINE = "WaitingInLine"
    SCHEDULING_GATED = "SchedulingGated"
    SCALING_UP = "ScalingUp"
    PULLING_IMAGE = "PullingImage"
    IMAGE_ERROR = "ImageError"
    INITIALIZING = "Initializing"
    CONTAINER_CREATING = "ContainerCreating"
    CONTAINER_ERROR = "ContainerError"
    ENDED = "Ended"
    # Failed, before the kernel's first answer
    POD_REJECTED = "PodRejected"
    NAMESPACE_QUOTA = "NamespaceQuotaExceeded"
    HOME_ELSEWHERE = "HomeElsewhere"
    LARGER_THAN_ANY_NODE = "LargerThanAnyNode"
    NO_MATCHING_NODE = "NoMatchingNode"
    REFERENCE_NOT_FOUND = "ReferenceNotFound"
    INVALID_IMAGE_NAME = "InvalidImageName"
    IMAGE_NOT_FOUND = "ImageNotFound"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    BAD_COMMAND = "BadCommand"
    CRASHED_AT_START = "CrashedAtStart"
    ADMISSION_TIMEOUT = "AdmissionTimeout"
    SCHEDULING_TIMEOUT = "SchedulingTimeout"
    IMAGE_TIMEOUT = "ImageTimeout"
    CONTAINER_TIMEOUT = "ContainerTimeout"
    # Failed, at any time
    OOM_KILLED = "OOMKilled"
    CONTAINER_EXITED = "ContainerExited"
    EVICTED = "Evicted"
    PREEMPTED = "Preempted"
    NODE_LOST = "NodeLost"
    POD_DELETED = "PodDeleted"
    HEARTBEAT_LOST = "HeartbeatLost"
    # Succeeded
    COMPLETED = "Completed"
    # Culled
    IDLE = "Idle"
    MAXIMUM_AGE = "MaximumAge"
    RECLAIMED = "Reclaimed"
    # Accepted of a JupyterKernelSpec or JupyterKernelTemplate
    UNKNOWN_CLASS = "UnknownClass"
    TEMPLATE_NOT_FOUND = "TemplateNotFound"
    TEMPLATE_FORBIDDEN = "TemplateForbidden"
    NO_IMAGE = "NoImage"
    FOREIGN_PLACEHOLDER = "ForeignPlaceholder"
    INVALID_QUANTITY = "InvalidQuantity"
    INVALID_PARAMETER = "InvalidParameter"
    # Available
    DEPLOYMENT_AVAILABLE = "DeploymentAvailable"
    DEPLOYMENT_UNAVAILABLE = "DeploymentUnavailable"
    # KernelSpecsFound
    FOUND = "Found"
    KERNEL_SPEC_NOT_FOUND = "KernelSpecNotFound"
    NO_KERNEL_SPECS = "NoKernelSpecs"
    # GatewayAccepted
    LOCAL_KERNELS = "LocalKernels"
    GATEWAY_NOT_FOUND = "GatewayNotFound"
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed"
    WAITING = "Waiting"


# Of a template that asks for what pods may not have.
NOT_ALLOWED = frozenset(
    {
        Reason.HOST_PATH_NOT_ALLOWED,
        Reason.VOLUME_NOT_ALLOWED,
        Reason.HOST_NAMESPACE_NOT_ALLOWED,
        Reason.HOST_PORT_NOT_ALLOWED,
        Reason.PRIVILEGED_NOT_ALLOWED,
        Reason.CAPABILITY_NOT_ALLOWED,
        Reason.ROOT_NOT_ALLOWED,
        Reason.UNCONFINED_NOT_ALLOWED,
        Reason.SERVICE_ACCOUNT_NOT_ALLOWED,
        Reason.SECRET_NOT_ALLOWED,
    }
)


class Phase:
    """One word for a kernel's conditions, which are the truth."""

    PENDING = "Pending"  # not admitted yet, or admitted and waiting for a node
    REFUSED = "Refused"
    STARTING = "Starting"  # on a node, its container is not running yet
    RUNNING = "Running"
    FAILED = "Failed"
    SUCCEEDED = "Succeeded"
    CULLED = "Culled"


FINISHED_PHASES = frozenset({Phase.REFUSED, Phase.FAILED, Phase.SUCCEEDED, Phase.CULLED})

# Execution states in status.activity.
STARTING = "starting"
IDLE = "idle"
BUSY = "busy"


def name_of(item: Object) -> str:
    """metadata.name."""
    return str(item["metadata"]["name"])


def namespace_of(item: Object) -> str:
    """metadata.namespace, empty for cluster-wide kinds."""
    return str(item["metadata"].get("namespace", ""))


def uid_of(item: Object) -> str:
    """metadata.uid."""
    return str(item["metadata"]["uid"])


def annotations_of(item: Object) -> dict[str, str]:
    """metadata.annotations, an empty dict where there are none."""
    return item["metadata"].get("annotations") or {}


def is_deleting(item: Object) -> bool:
    """Whether deletion was asked for."""
    return "deletionTimestamp" in item["metadata"]


def spec_of(item: Object) -> Object:
    """The spec, an empty dict where there is none."""
    return item.get("spec") or {}


def status_of(item: Object) -> Object:
    """The status, an empty dict where there is none."""
    return item.get("status") or {}


def condition(item: Object, kind: str) -> Object | None:
    """The condition of that type in an object's status."""
    for entry in status_of(item).get("conditions") or []:
        if entry.get("type") == kind:
            return dict(entry)
    return None


def is_true(item: Object, kind: str) -> bool:
    """Whether the condition of that type is there and True."""
    entry = condition(item, kind)
    return entry is not None and entry.get("status") == "True"


def gateway_reference(item: Object) -> tuple[str, str] | None:
    """(namespace, name) of the JupyterGateway that a kernel's or notebook's spec names, if any."""
    reference = spec_of(item).get("gateway")
    if not reference:
        return None
    return reference.get("namespace") or namespace_of(item), reference["name"]


def controller_uid(item: Object, kind: str) -> str | None:
    """The uid of the object of that kind which controls this one, if one does."""
    owner = controller(item, kind)
    return owner["uid"] if owner else None


def controller(item: Object, kind: str) -> Object | None:
    """The ownerReference of that kind with `controller: true`."""
    for reference in _owners(item):
        if reference.get("controller") and reference.get("kind") == kind:
            return reference
    return None


def _owners(item: Object) -> Iterator[Object]:
    yield from item["metadata"].get("ownerReferences") or []


def owner_reference(item: Object, resource: Resource) -> Object:
    """The controller ownerReference that children of `item` carry."""
    return {
        "apiVersion": resource.api_version,
        "kind": resource.kind,
        "name": name_of(item),
        "uid": uid_of(item),
        "controller": True,
    }

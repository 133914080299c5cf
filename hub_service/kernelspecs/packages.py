"""Extra Python packages of a kernel: an init container that installs them beside the image's own.

They go into a volume that lives as long as the pod, which PYTHONPATH names. What the image has is
kept: pip adds what is missing, and says so where the two don't go together. Pure.
"""

from __future__ import annotations

import copy
import posixpath

from hub_service.kinds import Object

CONTAINER = "packages"
_FOLDER = "/opt/elastic-packages"
_VOLUME = "elastic-packages"
_SIZE = "2Gi"

# pip's --target would install again what the image has, and --user is not for virtual environments.
# --prefix does neither, but its folder depends on the Python: hence the link.
_PROGRAM = """
import glob, os, subprocess, sys
folder, *arguments = sys.argv[1:]
pip = [sys.executable, "-m", "pip", "install", "--no-input", "--disable-pip-version-check",
       "--no-cache-dir", "--no-warn-script-location", "--prefix", folder + "/prefix"]
done = subprocess.run(pip + arguments)
if done.returncode:
    sys.exit(done.returncode)
found = glob.glob(folder + "/prefix/**/*-packages", recursive=True)
if found:
    os.symlink(found[0], folder + "/site")
"""


def install(pod_spec: Object, container: Object, packages: list[str], index: Object) -> None:
    """Add to a pod's spec what installs `packages` before `container`, the kernel's, begins.

    index: the parameter's rules: indexURL and findLinks say where packages come from (neither:
    what the image's pip is configured for).
    """
    volumes = pod_spec.get("volumes") or []
    folder = {"name": _VOLUME, "emptyDir": {"sizeLimit": index.get("sizeLimit") or _SIZE}}
    mount = {"name": _VOLUME, "mountPath": _FOLDER}
    pod_spec["volumes"] = [*volumes, folder]
    own_mounts = container.get("volumeMounts") or []
    installer: Object = {
        "name": CONTAINER,
        "image": container["image"],
        "command": [_python(container), "-c", _PROGRAM, _FOLDER, *_options(index), "--", *packages],
        "volumeMounts": [*copy.deepcopy(own_mounts), mount],
        # The end of pip's output is what the kernel's user is told.
        "terminationMessagePolicy": "FallbackToLogsOnError",
    }
    for field in ("imagePullPolicy", "env", "envFrom", "securityContext"):
        if field in container:
            installer[field] = copy.deepcopy(container[field])
    if resources := _without_devices(container.get("resources") or {}):
        installer["resources"] = resources
    pod_spec["initContainers"] = [*(pod_spec.get("initContainers") or []), installer]
    container["volumeMounts"] = [*own_mounts, {**mount, "readOnly": True}]
    container["env"] = _with_path(container.get("env") or [])


def _options(index: Object) -> list[str]:
    options: list[str] = []
    url, links = index.get("indexURL"), index.get("findLinks")
    if url:
        options += ["--index-url", url]
    elif links:
        options.append("--no-index")
    if links:
        options += ["--find-links", links]
    # pip takes packages over plain HTTP from hosts only that it is told to trust.
    hosts = {
        address.split("/")[2] for address in (url, links) if address and address[:7] == "http://"
    }
    for host in sorted(hosts):
        options += ["--trusted-host", host]
    return options


def _python(container: Object) -> str:
    words = [*(container.get("command") or []), *(container.get("args") or [])]
    own = words[0] if words else ""
    return own if posixpath.basename(own).startswith("python") else "python3"


def _with_path(env: list[Object]) -> list[Object]:
    """The environment, with the packages' folder in front of the Python path that it sets."""
    site = f"{_FOLDER}/site"
    given = next((entry for entry in env if entry["name"] == "PYTHONPATH"), {})
    path = f"{site}:{given['value']}" if given.get("value") else site
    others = [entry for entry in env if entry["name"] != "PYTHONPATH"]
    return [*others, {"name": "PYTHONPATH", "value": path}]


def _without_devices(resources: Object) -> Object:
    """Processor and memory of the kernel's container: installing needs no GPU."""
    return {
        part: kept
        for part in ("limits", "requests")
        if (
            kept := {
                name: amount
                for name, amount in (resources.get(part) or {}).items()
                if name in ("cpu", "memory", "ephemeral-storage")
            }
        )
    }

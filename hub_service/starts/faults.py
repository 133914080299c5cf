"""What can't succeed, by the words of kubelet, container runtime and API server. Pure.

Each function returns a Fault, with a constant reason and a sentence for the kernel's user that
ends with the cause for the administrator, or None where another try may help.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from hub_service import quantities
from hub_service.kinds import Reason


class Fault(NamedTuple):
    """Why a start has failed; `at_once`: no need to see whether it stays like this."""

    reason: str
    message: str
    at_once: bool = True


# Pulls that fail for other causes (a registry that is down, a name that can't be looked up) are
# tried this often.
PULL_TRIES = 3

_IMAGE_WAITS = frozenset(
    {
        "ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull",
        "ImageInspectError", "RegistryUnavailable", "SignatureValidationFailed",
    }
)  # fmt: skip
# What registries and container runtimes say of an image that isn't there.
_NO_IMAGE = re.compile(
    r"code = NotFound|: not found|manifest unknown|name unknown|repository does not exist"
    r"|no match for platform|no matching manifest|not exist or may require",
    re.IGNORECASE,
)
_DENIED = re.compile(
    r"unauthorized|authorization failed|authentication required|access denied|\bdenied\b"
    r"|forbidden|no basic auth|insufficient_scope",
    re.IGNORECASE,
)
# kubelet's own caches, which it waits for by itself.
_PASSING = re.compile(r"failed to sync|not registered|timed out|deadline exceeded", re.IGNORECASE)
_MISSING = re.compile(r'(?i)\b(secret|configmap|persistentvolumeclaim)s? "([^"]+)" not found')
_KEY = re.compile(r"couldn't find key (\S+) in (Secret|ConfigMap) (\S+)|references non-existent")
_NO_COMMAND = re.compile(
    r"no command specified|executable file not found|no such file or directory|permission denied"
)
_KINDS = {
    "secret": "Secret", "configmap": "ConfigMap", "persistentvolumeclaim": "PersistentVolumeClaim",
}  # fmt: skip
# Exit codes with which a shell says that a command isn't there, or may not be run.
_SHELL_CODES = frozenset({126, 127})
_QUOTA = re.compile(r"exceeded quota: ([^,]+), requested: (.*?), used: (.*?), limited: (.*)")

_LAST_LINES = 5
_LAST_CHARACTERS = 500


def is_image_trouble(reason: str | None) -> bool:
    """Whether a container waits because its image could not be pulled."""
    return reason in _IMAGE_WAITS


def image(name: str, reason: str, words: str, tries: int) -> Fault | None:
    """An image that could not be pulled, `tries` times so far."""
    cause = f" ({reason}: {words})" if words else f" ({reason})"
    if reason == "InvalidImageName":
        return Fault(
            Reason.INVALID_IMAGE_NAME,
            f"The kernel's image has a name that can't be used: {name!r}.{cause}",
        )
    if reason == "ErrImageNeverPull":
        return Fault(
            Reason.IMAGE_NOT_FOUND,
            f"The kernel's image {name} is not on the node, and its pull policy is Never.{cause}",
        )
    if _DENIED.search(words):
        return Fault(
            Reason.IMAGE_PULL_FAILED,
            f"The registry does not give the kernel's image {name} to this cluster: it isn't "
            f"there, or a pull secret is needed.{cause}",
        )
    if _NO_IMAGE.search(words):
        return Fault(
            Reason.IMAGE_NOT_FOUND,
            f"The kernel's image {name} does not exist. Choose another kernel or image, or ask "
            f"your administrator.{cause}",
        )
    if tries >= PULL_TRIES:
        return Fault(
            Reason.IMAGE_PULL_FAILED,
            f"The kernel's image {name} could not be pulled in {tries} tries.{cause}",
        )
    return None


def container(reason: str, words: str) -> Fault | None:
    """A container that kubelet could not create."""
    if reason == "CreateContainerConfigError":
        if _PASSING.search(words):
            return None
        missing = reference(words)
        return missing or Fault(
            Reason.CONTAINER_ERROR, f"The kernel's container can't be made: {words}", at_once=False
        )
    if reason in ("CreateContainerError", "RunContainerError") and _NO_COMMAND.search(words):
        return Fault(Reason.BAD_COMMAND, f"The kernel's command can't be run. ({words})")
    return None


def reference(words: str) -> Fault | None:
    """Something that a pod refers to and that isn't there, by whoever says so."""
    if _PASSING.search(words):
        return None
    if found := _MISSING.search(words):
        kind = _KINDS[found[1].lower()]
        return Fault(
            Reason.REFERENCE_NOT_FOUND,
            f"The kernel needs the {kind} {found[2]!r}, which does not exist. Ask your "
            f"administrator to make it, or to correct the kernel spec. ({words})",
            at_once=False,
        )
    if found := _KEY.search(words):
        return Fault(
            Reason.REFERENCE_NOT_FOUND,
            f"The kernel needs something that does not exist. ({words})",
            at_once=False,
        )
    return None


def rejection(words: str) -> Fault:
    """A pod that the API server, or a webhook, LimitRange or policy of its, did not take."""
    return Fault(
        Reason.POD_REJECTED,
        f"The cluster did not take the kernel's pod, as it is asked for: {words}",
    )


def is_full(words: str) -> bool:
    """Whether a refusal is the namespace's ResourceQuota's."""
    return _QUOTA.search(words) is not None


def namespace_quota(words: str) -> Fault | None:
    """A pod that its namespace's ResourceQuota has no room for, not even when nothing else runs.

    None where there will be room once something else has ended.
    """
    found = _QUOTA.search(words)
    if found is None:
        return None
    requested, limited = (_amounts(found[group]) for group in (2, 4))
    for name, amount in requested.items():
        try:
            too_much = quantities.parse(amount) > quantities.parse(limited[name])
        except (KeyError, ValueError):
            continue
        if too_much:
            return Fault(
                Reason.NAMESPACE_QUOTA,
                f"The kernel asks for {name} {amount}, and all of its namespace together may have "
                f"{limited[name]}. ({words})",
            )
    return None


def ended_early(code: int, reason: str | None, words: str) -> Fault | None:
    """A kernel whose process ended, with an error, before it had answered once."""
    if reason in ("StartError", "ContainerCannotRun"):
        return Fault(
            Reason.BAD_COMMAND,
            f"The kernel's command could not be run: {words or 'no more is known'}",
        )
    if code == 0:
        return None
    said = last_words(words)
    if code in _SHELL_CODES:
        cause = f": {said}" if said else "."
        return Fault(
            Reason.BAD_COMMAND, f"The kernel's command could not be run (exit code {code}){cause}"
        )
    log = f" The last lines of its log:\n{said}" if said else " It has logged nothing."
    return Fault(
        Reason.CRASHED_AT_START,
        f"The kernel's process ended with exit code {code} before it answered.{log}",
    )


def last_words(log: str) -> str:
    """The end of a log: a few lines, and no more than fit a message."""
    lines = [line.rstrip() for line in log.splitlines() if line.strip()]
    return "\n".join(lines[-_LAST_LINES:])[-_LAST_CHARACTERS:]


def _amounts(text: str) -> dict[str, str]:
    return dict(part.split("=", 1) for part in text.split(",") if "=" in part)

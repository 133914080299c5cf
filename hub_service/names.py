"""Names and label values for texts that Kubernetes would not take, such as user names."""

from __future__ import annotations

import hashlib
import re

_VALID = re.compile(r"([a-z0-9]([-_.a-z0-9]{0,61}[a-z0-9])?)?")
_HASHED = re.compile(r".*-[0-9a-f]{12}")
_NOT_ALLOWED = re.compile(r"[^-_.a-z0-9]+")

_GATEWAY = "gateway"
_PLAIN_USER = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]+")
# A Service's name has at most 63 characters: the prefix, two readable parts and a hash fit.
_LONGEST_PLAIN_USER = 48
_READABLE = 18
# As KubeSpawner has it: names that stand for themselves, and how much is left of others.
_OBJECT_NAME = re.compile(r"[a-z]([-a-z0-9]{0,46}[a-z0-9])?")
_SLUG = 37


def safe_label(text: str) -> str:
    """A label value for any text: itself where it is valid, else a readable part and a hash.

    Different texts get different values (a text that looks like a hashed one is hashed as well).
    Labels select; identity stays with the text itself.
    """
    if _VALID.fullmatch(text) and not _HASHED.fullmatch(text):
        return text
    digest = _digest(text)
    readable = _NOT_ALLOWED.sub("-", text.lower())[:50].strip("-_.")
    return f"{readable or 'x'}-{digest}"


def kernel_name(kernel_id: str) -> str:
    """The name of the JupyterKernel (and of its Secret) of a kernel id."""
    return f"kernel-{kernel_id}"


def pod_name(kernel: str, incarnation: int) -> str:
    """The name of a JupyterKernel's pod: its own, with a number from the second pod on."""
    return kernel if incarnation == 0 else f"{kernel}-{incarnation}"


def user_gateway_name(user: str, server: str | None = None) -> str:
    """The name of a user's own JupyterGateway, and of its Service.

    server: name of the one hub server that it is for ("" is the default one); None: for all of the
    user's. Different users and servers get different names: those that can't be told from others'
    as they are carry a hash.
    """
    if server is None and _is_plain(user):
        return f"{_GATEWAY}-{user}"
    parts = [user] if server is None else [user, server]
    readable = [text for part in parts if (text := _readable(part))]
    # No text in UTF-8 holds the byte FF, so the parts can't run into each other.
    digest = _digest(*parts)
    return "-".join([_GATEWAY, *readable, digest])


def user_slug(user: str) -> str:
    """A user's name in the names of their volumes, as KubeSpawner writes it for {username}."""
    if _OBJECT_NAME.fullmatch(user) and "--" not in user:
        return user
    readable = _NOT_IN_NAMES.sub("-", user.lower()).lstrip("-")[:_SLUG].rstrip("-")
    if readable and not readable[0].isalpha():
        readable = f"x-{readable[: _SLUG - 2]}"
    return f"{readable or 'x'}---{hashlib.sha256(user.encode()).hexdigest()[:8]}"


def _is_plain(user: str) -> bool:
    valid = _PLAIN_USER.fullmatch(user) and len(user) <= _LONGEST_PLAIN_USER
    return bool(valid) and not _HASHED.fullmatch(f"-{user}")


def _readable(text: str) -> str:
    return _NOT_IN_NAMES.sub("-", text.lower())[:_READABLE].strip("-")


def _digest(*texts: str) -> str:
    encoded = b"\xff".join(text.encode("utf-8", "surrogatepass") for text in texts)
    return hashlib.sha256(encoded).hexdigest()[:12]


def kernels_scope(service: str) -> str:
    """The hub's scope of tokens that may have kernels and nothing else; by the service's name."""
    return f"custom:{service}:kernels"

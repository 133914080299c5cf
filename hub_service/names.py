"""Names and label values for texts that Kubernetes would not take, such as user names."""

from __future__ import annotations

import hashlib
import re

_VALID = re.compile(r"([a-z0-9]([-_.a-z0-9]{0,61}[a-z0-9])?)?")
_HASHED = re.compile(r".*-[0-9a-f]{12}")
_NOT_ALLOWED = re.compile(r"[^-_.a-z0-9]+")


def safe_label(text: str) -> str:
    """A label value for any text: itself where it is valid, else a readable part and a hash.

    Different texts get different values (a text that looks like a hashed one is hashed as well).
    Labels select; identity stays with the text itself.
    """
    if _VALID.fullmatch(text) and not _HASHED.fullmatch(text):
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    readable = _NOT_ALLOWED.sub("-", text.lower())[:50].strip("-_.")
    return f"{readable or 'x'}-{digest}"


def kernel_name(kernel_id: str) -> str:
    """The name of the JupyterKernel (and of its Secret) of a kernel id."""
    return f"kernel-{kernel_id}"


def pod_name(kernel: str, incarnation: int) -> str:
    """The name of a JupyterKernel's pod: its own, with a number from the second pod on."""
    return kernel if incarnation == 0 else f"{kernel}-{incarnation}"

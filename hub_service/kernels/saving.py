"""What a kernel runs before it is culled, to save its user's session. Pure.

The kernel's JupyterKernelSpec names it. The gateway runs it when the service asks for it, and the
kernel ends whether or not it succeeds.
"""

from __future__ import annotations

from dataclasses import dataclass

from hub_service.kinds import Object, spec_of

# Seconds that it may take, where its spec doesn't say.
TIMEOUT = 30


@dataclass(frozen=True)
class Hook:
    """Code in the kernel's own language, and the seconds that it may take."""

    code: str
    timeout: int


@dataclass(frozen=True)
class Outcome:
    """What came of it; the message is a sentence, or what the code has printed."""

    succeeded: bool
    message: str

    def __str__(self) -> str:
        """For the kernel's user and its resource."""
        if self.succeeded:
            return self.message or "What its spec names for that has been saved."
        return f"Saving failed: {self.message}"


def hook(kernel: Object) -> Hook | None:
    """`spec.beforeCull` of a JupyterKernel, or of the spec that it is started from."""
    found = spec_of(kernel).get("beforeCull") or {}
    if not found.get("code"):
        return None
    return Hook(str(found["code"]), int(found.get("timeoutSeconds") or TIMEOUT))

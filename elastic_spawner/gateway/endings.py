"""What a kernel's user is told when its process has ended: why, what was lost, what to do. Pure."""

from __future__ import annotations

from elastic_spawner.gateway.activity import Activity
from elastic_spawner.gateway.kernel_resource import Ending
from hub_service.kinds import BUSY, STARTING


def of_kernel(ending: Ending, activity: Activity, *, restartable: bool) -> Ending:
    """The ending of a kernel that ran, with what was lost and the way out in its message.

    restartable: whether there is a resource left to restart.
    """
    way_out = (
        "Restart the kernel to go on."
        if restartable
        else "Start a new one with Kernel > Change Kernel."
    )
    words = (_sentence(ending.message), _lost(activity), way_out)
    return Ending(ending.reason, " ".join(word for word in words if word))


def of_process(message: str, activity: Activity) -> str:
    """What is said when the process was started again without anybody having asked for it."""
    words = (_sentence(message), _lost(activity), "The kernel can be used again.")
    return " ".join(word for word in words if word)


def _lost(activity: Activity) -> str:
    if activity.execution_state == STARTING:
        return ""
    if activity.execution_state == BUSY:
        return "The running cell did not finish, and the kernel's variables are lost."
    return "The kernel's variables are lost."


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."

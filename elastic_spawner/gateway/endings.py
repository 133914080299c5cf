"""What a kernel's user is told when its process has ended: why, what was lost, what to do. Pure."""

from __future__ import annotations

from datetime import datetime

from elastic_spawner.gateway.activity import Activity
from elastic_spawner.gateway.kernel_resource import Ending
from hub_service.gateways.activity import Why
from hub_service.kernels.saving import Outcome
from hub_service.kinds import BUSY, STARTING, Reason


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


def of_cull(since: datetime, why: Why | None, saved: Outcome | None) -> Ending:
    """The ending of a kernel that was culled.

    since: when it was last active. why: the service's word for it, where it gave one. saved: what
    came of saving its session, where its spec names how.
    """
    if why is None or why.reason == Reason.IDLE:
        told = (
            f"This kernel was ended because it had been idle since {since:%H:%M} UTC: its memory "
            "and GPU are free for others, its variables are gone."
        )
    else:
        told = f"This kernel was ended. {_sentence(why.message)} Its variables are gone."
    session = [_sentence(str(saved))] if saved else []
    message = " ".join([told, *session, "Start a new one with Kernel > Change Kernel."])
    return Ending("KernelCulled", message)


def _lost(activity: Activity) -> str:
    if activity.execution_state == STARTING:
        return ""
    if activity.execution_state == BUSY:
        return "The running cell did not finish, and the kernel's variables are lost."
    return "The kernel's variables are lost."


def _sentence(text: str) -> str:
    text = text.strip()
    return text if text.endswith((".", "!", "?")) else f"{text}."

"""Errors that a person reads in JupyterLab: an HTTP status, a constant reason, a sentence."""

from __future__ import annotations

from elastic_spawner.gateway.kernel_resource import Ending
from hub_service import kinds

# How a start that was refused or failed is answered; any other reason is a 500.
_STATUS_BY_REASON = {
    kinds.Reason.QUOTA_EXCEEDED: 403,
    kinds.Reason.KERNEL_SPEC_NOT_OFFERED: 403,
    **dict.fromkeys(
        (
            kinds.Reason.INVALID_SPEC,
            kinds.Reason.POD_REJECTED,
            kinds.Reason.NAMESPACE_QUOTA,
            kinds.Reason.LARGER_THAN_ANY_NODE,
            kinds.Reason.NO_MATCHING_NODE,
            kinds.Reason.HOME_ELSEWHERE,
            kinds.Reason.REFERENCE_NOT_FOUND,
            kinds.Reason.INVALID_IMAGE_NAME,
            kinds.Reason.IMAGE_NOT_FOUND,
            kinds.Reason.BAD_COMMAND,
            *kinds.NOT_ALLOWED,
        ),
        422,
    ),
    **dict.fromkeys(
        (
            kinds.Reason.ADMISSION_TIMEOUT,
            kinds.Reason.SCHEDULING_TIMEOUT,
            kinds.Reason.IMAGE_TIMEOUT,
            kinds.Reason.CONTAINER_TIMEOUT,
        ),
        504,
    ),
    "KernelDeleted": 410,
}


class KernelError(Exception):
    """A request about a kernel that fails for a reason worth telling.

    status: HTTP status of the answer. Of the 5xx, notebooks repeat GET and DELETE on 502-504.
    reason: CamelCase word, constant, for programs.
    message: sentences for the kernel's user: what is wrong and what to do.
    """

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message


def refusal(ending: Ending) -> KernelError:
    """How a start that ended in such a way is answered."""
    return KernelError(_STATUS_BY_REASON.get(ending.reason, 500), ending.reason, ending.message)

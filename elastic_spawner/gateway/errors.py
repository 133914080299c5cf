"""Errors that a person reads in JupyterLab: an HTTP status, a constant reason, a sentence."""

from __future__ import annotations


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

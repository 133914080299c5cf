"""papermill's engine `elastic`: a notebook's cells on a kernel of the gateway.

papermill --engine elastic --log-output -k python-gpu in.ipynb out.ipynb
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any

from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import NBClientEngine
from papermill.log import logger

from elastic_spawner.jobs.manager import GatewayKernelManager

# Arguments of papermill's that are no traits of nbclient's client, or not for callers to choose.
_NOT_TRAITS = (
    "input_path", "start_timeout", "startup_timeout", "timeout", "kernel_manager_class",
)  # fmt: skip


class ElasticEngine(NBClientEngine):
    """papermill's own engine, with kernels of the gateway that always end with the run."""

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        log_output: bool = False,
        stdout_file: Any = None,
        stderr_file: Any = None,
        execution_timeout: float | None = None,
        **kwargs: Any,
    ) -> None:
        """Run the notebook; papermill's arguments.

        execution_timeout: seconds for one cell, None for ever. kwargs: traits of nbclient's
        NotebookClient. papermill's start_timeout has no effect: KERNEL_LAUNCH_TIMEOUT says how
        long a start may take, as in notebooks.
        """
        options = {name: value for name, value in kwargs.items() if name not in _NOT_TRAITS}
        client = PapermillNotebookClient(
            nb_man,
            **options,
            kernel_manager_class=GatewayKernelManager,
            kernel_name=kernel_name,
            timeout=execution_timeout,
            log=logger,
            log_output=log_output,
            stdout_file=stdout_file,
            stderr_file=stderr_file,
        )
        with _ended_by_sigterm():
            try:
                client.execute()
            finally:
                # nbclient itself doesn't, where a signal comes while the kernel starts.
                if client.km is not None:
                    client._cleanup_kernel()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM (what a pod gets that is deleted or whose time is over) unwinds the run."""

    def end(number: int, _: FrameType | None) -> None:
        logger.error("The run was asked to end (signal %d); its kernel is shut down.", number)
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)

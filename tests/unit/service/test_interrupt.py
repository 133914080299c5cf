"""Interrupts by signal: which are carried out, and what the script in the container does."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest

from hub_service import interrupt, timestamps
from hub_service.interrupt import Deliver, Refuse

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def a_kernel(*, asked="i1", begun=None, age=0.0, spec=None, running="True", pod_spec=None):
    wanted = {"id": asked, "at": timestamps.microseconds(NOW - timedelta(seconds=age))}
    containers = [{"name": "helper"}, {"name": "kernel"}]
    return {
        "metadata": {"name": "k", "namespace": "ns"},
        "spec": {
            "template": {"spec": {"containers": containers, **(pod_spec or {})}},
            **({"interrupt": wanted} if asked else {}),
            **(spec or {}),
        },
        "status": {
            "podName": "k",
            "incarnation": 0,
            "conditions": [{"type": "Running", "status": running}],
            **({"interrupt": {"id": begun}} if begun else {}),
        },
    }


def test_an_interrupt_goes_to_the_kernels_own_container():
    assert interrupt.decide(a_kernel(), NOW) == Deliver("i1", "k", "kernel")
    assert interrupt.decide(a_kernel(begun="i0", age=9.9), NOW) == Deliver("i1", "k", "kernel")


@pytest.mark.parametrize("kernel", [a_kernel(asked=None), a_kernel(begun="i1")])
def test_nothing_is_asked_or_it_was_seen_to(kernel):
    assert interrupt.asked(kernel) is None
    assert interrupt.decide(kernel, NOW) is None


@pytest.mark.parametrize(
    ("kernel", "why"),
    [
        (a_kernel(age=11), "11 s ago"),
        (a_kernel(running="False"), "does not run"),
        (a_kernel(spec={"incarnation": 1}), "does not run"),
        (a_kernel(pod_spec={"shareProcessNamespace": True}), "shareProcessNamespace"),
        (a_kernel(pod_spec={"hostPID": True}), "hostPID"),
    ],
)
def test_what_is_refused_says_why(kernel, why):
    decision = interrupt.decide(kernel, NOW)
    assert isinstance(decision, Refuse)
    assert why in decision.message


def test_outcomes():
    assert interrupt.status_of_outcome("i", None)["interrupt"]["delivered"] is True
    failed = interrupt.status_of_outcome("i", "no sh")["interrupt"]
    assert failed == {"id": "i", "delivered": False, "message": "no sh"}


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a process namespace: needs root")
async def test_the_script_signals_the_group_of_process_1_and_nobody_else():
    # Process 1 leads a group as a container's does; a child of its own group is hit as well, one
    # that has a session of its own is not.
    program = (
        "import os, signal, subprocess, sys\n"
        "os.setsid()\n"
        "heard, said = os.pipe()\n"
        "os.set_blocking(said, False)\n"
        "signal.set_wakeup_fd(said)\n"
        "signal.signal(signal.SIGINT, lambda *_: None)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "other = subprocess.Popen(['sleep', '60'], start_new_session=True)\n"
        "subprocess.Popen(['sh', '-c', sys.argv[1]], start_new_session=True)\n"
        "os.read(heard, 1)\n"
        "print(child.wait(), other.poll())\n"
    )
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    process = await asyncio.create_subprocess_exec(
        *unshare, sys.executable, "-c", program, interrupt.COMMAND[2], stdout=subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 20)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # and with it all that is in the namespace
    assert output.decode() == f"{-signal.SIGINT} None\n"

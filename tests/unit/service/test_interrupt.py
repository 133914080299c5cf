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

from hub_service import timestamps
from hub_service.kernels import inplace, interrupt
from hub_service.kernels.interrupt import Deliver, Refuse

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


def a_pod(command=None):
    containers = [{"name": "helper"}, {"name": "kernel", "command": command}]
    return {"metadata": {"name": "k"}, "spec": {"containers": containers}}


ALONE = interrupt.command(supervised=False)


def test_an_interrupt_goes_to_the_kernels_own_container():
    expected = Deliver("i1", "k", "kernel", ALONE)
    assert interrupt.decide(a_kernel(), a_pod(), NOW) == expected
    assert interrupt.decide(a_kernel(begun="i0", age=9.9), a_pod(), NOW) == expected


def test_the_kernel_of_a_supervisor_is_its_child():
    pod = a_pod([*inplace.COMMAND, "python3"])
    decision = interrupt.decide(a_kernel(), pod, NOW)
    assert isinstance(decision, Deliver)
    assert decision.command == interrupt.command(supervised=True) != ALONE


@pytest.mark.parametrize("kernel", [a_kernel(asked=None), a_kernel(begun="i1")])
def test_nothing_is_asked_or_it_was_seen_to(kernel):
    assert interrupt.asked(kernel) is None
    assert interrupt.decide(kernel, a_pod(), NOW) is None


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
    decision = interrupt.decide(kernel, a_pod(), NOW)
    assert isinstance(decision, Refuse)
    assert why in decision.message


def test_outcomes():
    assert interrupt.status_of_outcome("i", None)["interrupt"]["delivered"] is True
    failed = interrupt.status_of_outcome("i", "no sh")["interrupt"]
    assert failed == {"id": "i", "delivered": False, "message": "no sh"}


def test_without_a_pod_there_is_nothing_to_interrupt():
    assert isinstance(interrupt.decide(a_kernel(), None, NOW), Refuse)


# Says of which child it was heard, as soon as it was: of its own group, or of another's.
PROGRAM = """
import os, signal, subprocess, sys
if os.getpgid(0) != os.getpid():
    os.setsid()  # as a container's first process
heard, said = os.pipe()
os.set_blocking(said, False)
signal.set_wakeup_fd(said)
assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
signal.signal(signal.SIGINT, lambda *_: None)
child = subprocess.Popen(['sleep', '60'])
other = subprocess.Popen(['sleep', '60'], start_new_session=True)
# Its parent has gone: it is process 1's child now, and nobody's to interrupt.
orphan = ['sh', '-c', 'setsid sleep 60 >&- 2>&- & echo $!']
orphan = int(subprocess.run(orphan, capture_output=True, check=True).stdout)
subprocess.Popen(sys.argv[1:], start_new_session=True)
os.read(heard, 1)
print(child.wait(), other.poll(), os.path.exists(f'/proc/{orphan}'))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a process namespace: needs root")
@pytest.mark.parametrize("supervisor", [(), inplace.COMMAND], ids=["alone", "supervised"])
async def test_the_script_signals_the_kernels_group_and_nobody_else(supervisor):
    script = interrupt.command(supervised=bool(supervisor))
    # In a container nothing ignores SIGINT; what runs tests unattended may do so.
    default = ["env", "--default-signal=INT"]
    unshare = [*default, "unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *supervisor]
    process = await asyncio.create_subprocess_exec(
        *unshare, sys.executable, "-c", PROGRAM, *script, stdout=subprocess.PIPE
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(), 60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()  # and with it all that is in the namespace
    assert output.decode() == f"{-signal.SIGINT} None True\n"

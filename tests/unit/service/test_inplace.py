"""The supervisor in a kernel's container: what it does with a real shell, and where it is put."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from hub_service.kernels import inplace, kernel

DEADLINE = 60
SHELLS = [shell for shell in ("dash", "bash", "busybox") if shutil.which(shell)]
NEEDS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="makes a process namespace: needs root")

# A kernel: says that it runs and with which words, and does as it is told.
KERNEL = """
import os, signal, subprocess, sys, time
left = subprocess.Popen(['sleep', '600'], start_new_session=True)
deaf = sys.argv[1] == 'deaf'
signal.signal(signal.SIGHUP, signal.SIG_IGN if deaf else lambda *_: os._exit(0))
print('runs', os.getpid(), left.pid, *sys.argv[2:], flush=True)
if sys.argv[1].isdigit():
    os._exit(int(sys.argv[1]))
if sys.argv[1] == 'segfault':
    os.kill(os.getpid(), signal.SIGSEGV)
while True:
    time.sleep(60)
"""


class Container:
    """A process namespace whose first process is the supervisor."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def runs(self) -> list[str]:
        """What the kernel says when it begins: its pid, its child's, its words."""
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), DEADLINE)
        head, *rest = line.decode().split(maxsplit=3)
        assert head == "runs"
        return rest

    async def inside(self, *command: str) -> asyncio.subprocess.Process:
        """A command as `kubectl exec` runs one."""
        children = await asyncio.to_thread(
            subprocess.run,
            ["pgrep", "-P", str(self.process.pid)],
            capture_output=True,
            text=True,
            check=True,
        )
        enter = ["nsenter", "--target", children.stdout.split()[0], "--pid", "--mount"]
        return await asyncio.create_subprocess_exec(*enter, *command, start_new_session=True)

    async def code(self) -> int:
        """The container's exit code."""
        return await asyncio.wait_for(self.process.wait(), DEADLINE)


@asynccontextmanager
async def container(shell: str, *arguments: str) -> AsyncIterator[Container]:
    words = (shell, "sh") if shell == "busybox" else (shell,)
    supervisor = [*words, *inplace.COMMAND[1:]]
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *supervisor]
    process = await asyncio.create_subprocess_exec(
        *unshare, sys.executable, "-c", KERNEL, *arguments, stdout=subprocess.PIPE
    )
    try:
        yield Container(process)
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("folder", ["course/week 1", "-P", "$(id)", "gone", None])
def test_a_kernel_starts_in_its_notebooks_folder_or_says_that_it_is_not_there(
    shell: str, folder: str | None, tmp_path: Path
) -> None:
    for there in ("course/week 1", "-P", "$(id)"):
        (tmp_path / there).mkdir(parents=True)
    words = (shell, "sh") if shell == "busybox" else (shell,)
    wanted = {} if folder is None else {"KERNEL_WORKING_DIR": str(tmp_path / folder)}
    done = subprocess.run(
        [*words, *inplace.COMMAND[1:], "sh", "-c", "pwd; exit 3"],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], **wanted},
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    starts_in = tmp_path if folder in (None, "gone") else tmp_path / folder
    assert (done.returncode, done.stdout) == (3, f"{starts_in}\n")
    assert (f"{tmp_path / 'gone'} is not there" in done.stderr) == (folder == "gone")


@NEEDS_ROOT
@pytest.mark.parametrize("shell", SHELLS)
async def test_a_kernel_that_ends_when_asked_runs_again_with_the_same_words(shell: str) -> None:
    words = ["a  b", "$HOME", "'", '"', "*", "$(id)", ""]
    async with container(shell, "obedient", *words) as made:
        pid, left, said = await made.runs()
        delivery = await made.inside(*inplace.restart_command(30))
        await made.inside("kill", "-HUP", pid)
        again, _, said_again = await made.runs()
        assert again != pid
        assert said_again == said == " ".join(words) + "\n"
        assert await asyncio.wait_for(delivery.wait(), DEADLINE) == -signal.SIGKILL
        gone = await made.inside("kill", "-0", left)
        assert await gone.wait() == 1  # what it had left behind


@NEEDS_ROOT
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("grace", [0, 1])
async def test_a_kernel_that_does_not_listen_is_killed(shell: str, grace: int) -> None:
    async with container(shell, "deaf") as made:
        pid, _ = await made.runs()
        await made.inside("kill", "-HUP", pid)
        delivery = await made.inside(*inplace.restart_command(grace))
        again, _ = await made.runs()
        assert again != pid
        assert await asyncio.wait_for(delivery.wait(), DEADLINE) == -signal.SIGKILL


@NEEDS_ROOT
@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("told", "code"), [("0", 0), ("5", 5), ("segfault", 128 + 11)])
async def test_what_ends_by_itself_ends_the_container(shell: str, told: str, code: int) -> None:
    async with container(shell, told) as made:
        await made.runs()
        assert await made.code() == code


@NEEDS_ROOT
async def test_a_deleted_pods_kernel_that_ends_is_not_waited_for() -> None:
    async with container(SHELLS[0], "obedient") as made:
        pid, _ = await made.runs()
        await (await made.inside("kill", "-TERM", "1")).wait()
        # The restart comes too late: the pod is going.
        await (await made.inside("kill", "-USR1", "1")).wait()
        await made.inside("kill", "-HUP", pid)
        assert await made.code() == 0


@NEEDS_ROOT
async def test_a_command_that_is_not_there() -> None:
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", *inplace.COMMAND]
    process = await asyncio.create_subprocess_exec(*unshare, "no-such-program")
    assert await asyncio.wait_for(process.wait(), DEADLINE) == 127


def a_template(*, metadata=None, pod_spec=None, **container):
    kernel_container = {"name": "kernel", "command": ["k"], **container}
    spec = {"containers": [{"name": "helper"}, kernel_container], **(pod_spec or {})}
    return {"metadata": metadata or {}, "spec": spec}


@pytest.mark.parametrize(
    ("template", "why"),
    [
        (a_template(), None),
        (a_template(command=None), "names no command"),
        (a_template(pod_spec={"shareProcessNamespace": True}), "shareProcessNamespace"),
        (a_template(pod_spec={"hostPID": True}), "hostPID"),
        (a_template(env=[{"name": "spark.home"}]), "'spark.home'"),
        (
            a_template(
                metadata={"annotations": {"kubeflow.tkestack.io/restart-in-place": "false"}}
            ),
            "restartInPlace: false",
        ),
        (
            a_template(metadata={"annotations": {"kubeflow.tkestack.io/restart-in-place": "true"}}),
            None,
        ),
        ({}, "names no command"),
    ],
)
def test_which_kernels_can_be_restarted_in_place(template, why):
    said = inplace.objection(template)
    assert (said is None) if why is None else (said is not None and why in said)


def test_a_pods_command_runs_under_the_supervisor():
    template = a_template(args=["-f", "$(X)"])
    item = {
        "metadata": {"name": "k", "namespace": "ns", "uid": "u"},
        "spec": {"template": template, "owner": "a"},
    }
    made = kernel.desired_pod(item)["spec"]["containers"][1]
    assert made["command"] == [*inplace.COMMAND, "k"]
    assert made["args"] == ["-f", "$(X)"]
    assert inplace.is_supervised(made)
    assert inplace.kernel_command(made) == ["k"]
    assert template["spec"]["containers"][1]["command"] == ["k"]
    # Kubernetes fills in for itself what looks like a reference to a variable.
    assert "$(" not in inplace.COMMAND[2]
    assert "$$" not in inplace.COMMAND[2]


def test_other_containers_are_not_taken_for_supervised():
    assert not inplace.is_supervised({})
    assert not inplace.is_supervised({"command": ["/bin/sh", "-c", "exec python", "kernel", "x"]})
    assert inplace.kernel_command({"command": ["k"]}) == ["k"]

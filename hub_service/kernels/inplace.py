"""The kernel's command under a supervisor, so that it can be started again in the same pod.

A container ends with its first process. That process is a few lines of `sh` here, which run the
kernel's command, and run it again if a restart was asked for: same pod, same address, same GPU.
Whoever asks runs `RESTART` in the container. Pure.
"""

from __future__ import annotations

import re
from typing import Any

from hub_service.kinds import ANNOTATION_RESTART_IN_PLACE, Object
from hub_service.pods import podtemplate

SHELL = "/bin/sh"

# The kernel starts in its notebook's folder, where it is told of one. It runs in the foreground: a
# background process of `sh` ignores SIGINT, and so would all that it starts. Signals for the shell
# are seen to once the kernel has ended. A kernel that was asked to end for a restart may be faster
# than the signal that tells of it: hence the wait after exit code 0, which SIGTERM (the pod is
# being deleted) cuts short. Before the command runs again, everything that is left of the last time
# is killed, and with it who asked for the restart.
# A session of its own makes the kernel the leader of its process group, as the kernel's own way to
# interrupt its child processes expects.
_SUPERVISOR = """
if [ -n "${KERNEL_WORKING_DIR:-}" ] && ! cd -- "$KERNEL_WORKING_DIR"; then
    printf 'The kernel starts in %s: %s is not there.\n' "$PWD" "$KERNEL_WORKING_DIR" >&2
fi
restart= ending= session=
trap 'restart=1' USR1
trap 'ending=1' TERM
trap : INT
command -v setsid >/dev/null 2>&1 && session=setsid
while :; do
    $session "$@"
    code=$?
    if [ "$code" -eq 0 ] && [ -z "$restart$ending" ]; then
        sleep 2 &
        wait "$!"
    fi
    if [ -z "$restart" ] || [ -n "$ending" ]; then exit "$code"; fi
    restart=
    kill -KILL -1 2>/dev/null
done
"""
# The last word names the shell in its own messages, and the supervisor: which signal it waits for.
_NAME = "kernel-supervisor"
COMMAND = (SHELL, "-c", _SUPERVISOR, _NAME)

# Run in the container with the seconds that the kernel has to end by itself. It is killed by the
# supervisor when that happens, or kills all that is left itself; then the supervisor does so.
_RESTART = """
kill -USR1 1 || exit 3
[ "$1" -eq 0 ] || sleep "$1"
kill -KILL -1
sleep 5
exit 4
"""
# The exit code of what was killed: the restart has begun.
RESTARTED = 137

_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# Process 1 is another there, and all containers' processes would be hit.
_SHARED_PROCESSES = ("shareProcessNamespace", "hostPID")


def restart_command(grace: int) -> tuple[str, ...]:
    """What is run in the container for a restart; `grace`: seconds to end in, 0 is none."""
    return (SHELL, "-c", _RESTART, "restart", str(grace))


def objection(template: Object) -> str | None:
    """Why kernels of a pod template can't be restarted in place, in a sentence; None if they can.

    Where the template doesn't name the command it is the image's, and not known here.
    """
    annotations = (template.get("metadata") or {}).get("annotations") or {}
    if annotations.get(ANNOTATION_RESTART_IN_PLACE) == "false":
        return "Its kernel spec or template says restartInPlace: false."
    pod_spec: Object = template.get("spec") or {}
    for field in _SHARED_PROCESSES:
        if pod_spec.get(field):
            return f"Its pod template sets {field}: processes of other containers would be hit."
    containers = podtemplate.containers(template)
    container = containers[podtemplate.kernel_index(template)] if containers else {}
    if not container.get("command"):
        return "Its pod template names no command: the image's own is not known."
    for variable in container.get("env") or []:
        if not _IDENTIFIER.fullmatch(variable.get("name") or ""):
            return f"Its variable {variable.get('name')!r} would not get through a shell."
    return None


def supervised(container: Object) -> Object:
    """What of a container changes so that its command runs under the supervisor."""
    return {"command": [*COMMAND, *container["command"]]}


def is_supervised(container: dict[str, Any]) -> bool:
    """Whether a pod's container was made by `supervised`, now or by an earlier version."""
    command = container.get("command") or []
    return len(command) > len(COMMAND) and command[len(COMMAND) - 1] == _NAME


def kernel_command(container: Object) -> list[str]:
    """The kernel's own command, without the supervisor."""
    command = list(container.get("command") or [])
    return command[len(COMMAND) :] if is_supervised(container) else command

"""Interrupting a kernel by signal: whether, where and how.

A kernel that takes no interrupt message (R's, among others) expects SIGINT, as it gets on a
machine of its own: its whole process group is signalled, so that a program that it runs is
interrupted as well. The gateway has no right on pods; it writes `spec.interrupt` into the
JupyterKernel, and the service delivers the signal. Pure.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

from hub_service import timestamps
from hub_service.kernels import inplace
from hub_service.kernels import kernel as kernels
from hub_service.kinds import RUNNING, Object, is_deleting, is_true, spec_of, status_of
from hub_service.pods import podtemplate

# An interrupt that comes late hits another cell than the one that it was meant for.
MAX_AGE = timedelta(seconds=10)

# Sends SIGINT to one process group: process 1's, or where that is the supervisor (see `inplace`,
# "supervised" below) its first child's, the kernel's; what it adopted came later.
# A group with a number of its own gets it at once, as from a terminal. `kill` can't address process
# 1's group (-1 stands for every process there is): the kernel gets it first, then the others, as a
# kernel that waits for a program lets it pass; after the program's end it would meet the kernel
# between two cells, which ends R. Only what any `sh` has is used.
_SCRIPT = """
read_stat() {
    read -r line 2>/dev/null <"$1" || return 1
    set -- ${line##*) }
    parent=$2 group=$3 started=${20}
}
read_stat /proc/1/stat || exit 3
kernel=1 wanted=$group first=
if [ "$1" = supervised ]; then
    for stat in /proc/[0-9]*/stat; do
        read_stat "$stat" && [ "$parent" = 1 ] || continue
        if [ -z "$first" ] || [ "$started" -lt "$first" ]; then
            first=$started wanted=$group kernel=${stat#/proc/} kernel=${kernel%/stat}
        fi
    done
fi
if [ "$wanted" -gt 1 ]; then
    kill -INT "-$wanted"
    exit
fi
kill -INT "$kernel" || exit
for stat in /proc/[0-9]*/stat; do
    read_stat "$stat" && [ "$group" = "$wanted" ] || continue
    pid=${stat#/proc/}
    pid=${pid%/stat}
    [ "$pid" = "$kernel" ] || kill -INT "$pid" 2>/dev/null
done
exit 0
"""


def command(*, supervised: bool) -> tuple[str, ...]:
    """What is run in the container; `supervised`: whether its process 1 is the supervisor."""
    return ("sh", "-c", _SCRIPT, "interrupt", "supervised" if supervised else "alone")


class Deliver(NamedTuple):
    """Send the signal in this container of this pod."""

    interrupt_id: str
    pod: str
    container: str
    command: tuple[str, ...]


class Refuse(NamedTuple):
    """Don't, for this reason."""

    interrupt_id: str
    message: str


def decide(kernel: Object, pod: Object | None, now: datetime) -> Deliver | Refuse | None:
    """What to do about `spec.interrupt`; None where nothing is asked or it was seen to before.

    pod: the kernel's, None where there is none.
    """
    interrupt_id = asked(kernel)
    if interrupt_id is None:
        return None
    age = now - _asked_at(kernel, now)
    if age > MAX_AGE:
        return Refuse(
            interrupt_id,
            f"The interrupt was asked for {age.total_seconds():.0f} s ago and came too late: it "
            "might have hit another cell. Interrupt again.",
        )
    template: Object = spec_of(kernel).get("template") or {}
    status = status_of(kernel)
    same_pod = status.get("incarnation") == kernels.incarnation(kernel)
    if pod is None or is_deleting(kernel) or not (same_pod and is_true(kernel, RUNNING)):
        return Refuse(interrupt_id, "The kernel does not run: there is nothing to interrupt.")
    for field in ("shareProcessNamespace", "hostPID"):
        if (template.get("spec") or {}).get(field):
            return Refuse(
                interrupt_id,
                f"The kernel's pod template sets {field}: process 1 is not the kernel there, and "
                f"a signal would hit others. Remove {field} to be able to interrupt such kernels.",
            )
    container = podtemplate.containers(pod)[podtemplate.kernel_index(pod)]
    return Deliver(
        interrupt_id,
        str(pod["metadata"]["name"]),
        str(container["name"]),
        command(supervised=inplace.is_supervised(container)),
    )


def asked(kernel: Object) -> str | None:
    """The id of an interrupt that was asked for and not begun, if there is one."""
    wanted = (spec_of(kernel).get("interrupt") or {}).get("id")
    begun = (status_of(kernel).get("interrupt") or {}).get("id")
    return str(wanted) if wanted and wanted != begun else None


def status_of_begun(interrupt_id: str) -> Object:
    """The status that is written before the signal is sent, so that it is never sent twice."""
    return {"interrupt": {"id": interrupt_id, "delivered": None, "message": None}}


def status_of_outcome(interrupt_id: str, problem: str | None) -> Object:
    """The status afterwards; `problem` is a sentence where the signal did not reach the kernel."""
    return {
        "interrupt": {"id": interrupt_id, "delivered": problem is None, "message": problem or ""}
    }


def _asked_at(kernel: Object, now: datetime) -> datetime:
    return timestamps.parse(spec_of(kernel)["interrupt"].get("at")) or now

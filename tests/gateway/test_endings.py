"""What the user of a kernel that ended is told."""

from datetime import UTC, datetime

from elastic_spawner.gateway import endings
from elastic_spawner.gateway.activity import answered, passed_on, started
from elastic_spawner.gateway.kernel_resource import Ending
from hub_service.gateways.activity import Why
from hub_service.kernels.saving import Outcome

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEW = started(NOW)
IDLE = answered(NEW, NOW)
BUSY = passed_on(IDLE, {"msg_type": "execute_request", "msg_id": "1"}, NOW)
KILLED = Ending("OOMKilled", "Out of memory")


def test_a_running_cell_and_the_variables_are_lost():
    told = endings.of_kernel(KILLED, BUSY, restartable=True)
    assert told == Ending(
        "OOMKilled",
        "Out of memory. The running cell did not finish, and the kernel's variables are lost. "
        "Restart the kernel to go on.",
    )


def test_an_idle_kernel_loses_its_variables():
    told = endings.of_kernel(KILLED, IDLE, restartable=False)
    assert told.message.endswith(
        "memory. The kernel's variables are lost. Start a new one with Kernel > Change Kernel."
    )


def test_one_that_never_answered_had_nothing_to_lose():
    told = endings.of_kernel(KILLED, NEW, restartable=True)
    assert told.message == "Out of memory. Restart the kernel to go on."


def test_a_process_that_was_started_again():
    assert endings.of_process("It hung.", IDLE) == (
        "It hung. The kernel's variables are lost. The kernel can be used again."
    )


def test_a_cull_says_why_and_what_became_of_the_session():
    plain = endings.of_cull(NOW, None, None)
    assert plain == Ending(
        "KernelCulled",
        "This kernel was ended because it had been idle since 00:00 UTC: its memory and GPU are "
        "free for others, its variables are gone. Start a new one with Kernel > Change Kernel.",
    )
    assert endings.of_cull(NOW, Why("Idle", "By some rule."), None) == plain
    saved = Outcome(True, "Saved 3 variables: restore() brings them back")
    told = endings.of_cull(NOW, Why("MaximumAge", "It has reached its maximum age"), saved).message
    assert told == (
        "This kernel was ended. It has reached its maximum age. Its variables are gone. Saved 3 "
        "variables: restore() brings them back. Start a new one with Kernel > Change Kernel."
    )
    failed = endings.of_cull(NOW, None, Outcome(False, "OSError: no space")).message
    assert "Saving failed: OSError: no space. Start" in failed

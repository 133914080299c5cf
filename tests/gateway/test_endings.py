"""What the user of a kernel that ended is told."""

from datetime import UTC, datetime

from elastic_spawner.gateway import endings
from elastic_spawner.gateway.activity import answered, passed_on, started
from elastic_spawner.gateway.kernel_resource import Ending

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

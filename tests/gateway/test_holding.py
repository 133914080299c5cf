"""What a client is told while its kernel doesn't answer yet."""

from __future__ import annotations

from typing import Any

from elastic_spawner.gateway.holding import (
    Answer,
    Holding,
    aborted,
    refused,
)
from elastic_spawner.gateway.introductions import minimal_introduction

INTRODUCTION = minimal_introduction("python")


def header(message_id: str, kind: str = "execute_request") -> dict[str, Any]:
    return {"msg_id": message_id, "msg_type": kind}


def take(
    holding: Holding, message_id: str, kind: str = "execute_request", **content: Any
) -> list[Answer]:
    return holding.take(
        message_id, header(message_id, kind), content, lambda: INTRODUCTION, "In line."
    )


def test_the_first_cell_says_what_is_waited_for_and_the_others_say_nothing() -> None:
    holding = Holding()

    (said,) = take(holding, "a")

    assert said == ("iopub", "stream", {"name": "stdout", "text": "In line.\n"}, header("a"))
    assert take(holding, "b") == []
    assert holding.messages == ["a", "b"]


def test_what_is_said_gives_way_to_what_is_said_next_and_to_the_result() -> None:
    holding = Holding()
    take(holding, "a")

    assert holding.show("In line.") == []
    cleared, said = holding.show("Next in line.")
    assert (cleared.kind, cleared.content) == ("clear_output", {"wait": True})
    assert said.content["text"] == "Next in line.\n"

    messages, (last,) = holding.release()
    assert messages == ["a"]
    assert (last.kind, last.content, last.parent) == ("clear_output", {"wait": False}, header("a"))
    assert holding.release() == ([], [])


def test_cells_that_nobody_sees_say_nothing() -> None:
    holding = Holding()
    assert take(holding, "a", silent=True) == []
    assert take(holding, "b", "comm_open") == []
    assert holding.show("In line.") == []
    assert holding.release() == (["a", "b"], [])


def test_who_asks_once_waits_for_the_kernel_and_who_keeps_asking_does_not() -> None:
    holding = Holding()
    assert take(holding, "a", "kernel_info_request") == []
    assert take(holding, "b", "kernel_info_request") == []

    answers = take(holding, "c", "kernel_info_request")

    assert [answer.kind for answer in answers] == [
        "status",
        "kernel_info_reply",
        "status",
        "status",
    ]
    assert answers[1].content["language_info"]["name"] == "python"
    assert [answer.parent for answer in answers] == [*[header("c", "kernel_info_request")] * 3, {}]
    assert holding.messages == ["a", "b"]


def test_a_refusal_leaves_no_cell_waiting() -> None:
    said, reply, idle = refused(header("a"), "It is gone.")
    assert said.content == {"name": "stderr", "text": "It is gone.\n"}
    assert (reply.channel, reply.kind, reply.content["status"]) == (
        "shell",
        "execute_reply",
        "error",
    )
    assert idle.content == {"execution_state": "idle"}
    assert len(refused(header("a", "comm_info_request"), "It is gone.")) == 1

    reply, idle = aborted(header("b"))
    assert reply.content == {"status": "aborted"}
    assert idle.content == {"execution_state": "idle"}
    assert aborted(header("c", "comm_msg")) == []


def test_a_language_without_a_known_extension_is_introduced_as_well() -> None:
    info = minimal_introduction("Haskell")["language_info"]
    assert info == {
        "name": "Haskell",
        "version": "",
        "mimetype": "text/x-haskell",
        "file_extension": ".txt",
    }

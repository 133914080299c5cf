"""The fault suite's model: who lives after a fault, and what is found wrong."""

from __future__ import annotations

import contextlib
import io
from dataclasses import replace

import pytest

from tests.faults import model
from tests.faults.model import Kernel, Outcome, Seen, Tally
from tests.faults.plan import Fault, Kind

ADA = Kernel("ada", 0, 1, "kernel-a", "one").after(3).after(4)
LIN = Kernel("lin", 0, 0, "kernel-b", "two")
BOTH = [ADA, LIN]
WELL = Seen(
    resources=("kernel-a", "kernel-b"),
    pods=("kernel-a", "kernel-b"),
    secrets=("kernel-a", "kernel-b"),
    gpus=1,
)


def fault(kind: Kind) -> Fault:
    return Fault(1, kind, during_a_cell=True, target=0, errand=0, seconds=1.0)


def test_the_cells_compute_what_the_model_expects() -> None:
    printed, variables = io.StringIO(), dict[str, object]()
    with contextlib.redirect_stdout(printed):
        for code in (model.first_cell(ADA), model.cell(3, 0), model.cell(4, 0), model.QUESTION):
            exec(code, variables)
    assert printed.getvalue().splitlines()[-1] == model.answer(ADA)


@pytest.mark.parametrize("kind", [Kind.SHIM_KILLED, Kind.POD_DELETED, Kind.RESOURCE_DELETED])
def test_what_takes_one_kernel_leaves_the_others(kind: Kind) -> None:
    assert model.after(fault(kind), BOTH, ADA) == [LIN]
    assert Outcome.RESULT not in model.outcomes(fault(kind), ADA, ADA)
    assert model.outcomes(fault(kind), LIN, ADA) == {Outcome.RESULT}


def test_a_kernel_without_its_secret_lives_as_long_as_its_gateway() -> None:
    left = model.after(fault(Kind.SECRET_DELETED), BOTH, ADA)
    assert left == [replace(ADA, recorded=False), LIN]
    assert model.after(fault(Kind.HUB_KILLED), left, LIN) == left
    assert model.after(fault(Kind.GATEWAY_KILLED), left, LIN) == [LIN]


def test_a_gateway_that_is_stopped_may_go_on_until_the_cell_has_ended() -> None:
    terminated, unrecorded = fault(Kind.GATEWAY_TERMINATED), replace(ADA, recorded=False)
    seen = model.outcomes(terminated, unrecorded, LIN)
    assert seen == {Outcome.RESULT, Outcome.TOLD, Outcome.DEATH}
    assert model.outcomes(terminated, ADA, LIN) == {Outcome.RESULT, Outcome.TOLD}


def test_only_a_lost_gateway_may_lose_output() -> None:
    for kind in Kind:
        may = Outcome.TOLD in model.outcomes(fault(kind), LIN, ADA)
        assert may == (kind in (Kind.GATEWAY_KILLED, Kind.GATEWAY_TERMINATED))


def counts(seen: Seen) -> list[str]:
    return sorted(problem.count for problem in model.compare(BOTH, seen))


def test_a_cluster_that_is_as_it_ought_to_be() -> None:
    assert counts(WELL) == []


def test_what_is_missing_is_lost() -> None:
    assert counts(replace(WELL, pods=("kernel-b",), gpus=0)) == ["lost", "lost"]
    assert counts(replace(WELL, secrets=("kernel-a",))) == ["lost"]
    assert (
        model.compare([ADA, replace(LIN, recorded=False)], replace(WELL, secrets=("kernel-a",)))
        == []
    )


def test_what_is_too_much_is_leaked_double_or_stuck() -> None:
    assert counts(replace(WELL, secrets=(*WELL.secrets, "kernel-c"))) == ["leaked"]
    assert counts(replace(WELL, pods=(*WELL.pods, "kernel-a"), gpus=2)) == ["double", "leaked"]
    assert counts(replace(WELL, deleting=("pod kernel-a",), waiting=("kernel-b",))) == ["stuck"] * 2


def test_answers() -> None:
    assert model.judge_answer(ADA, model.answer(ADA)) == []
    (twice,) = model.judge_answer(ADA, model.answer(ADA.after(4)))
    assert twice.count == "double"
    for said in ("", "state other 0", model.answer(replace(ADA, cells=(3,)))):
        (problem,) = model.judge_answer(ADA, said)
        assert problem.count == "lost"


def test_outcomes() -> None:
    (silent,) = model.judge_outcome(fault(Kind.HUB_KILLED), LIN, ADA, Outcome.SILENCE)
    (told,) = model.judge_outcome(fault(Kind.HUB_KILLED), LIN, ADA, Outcome.TOLD)
    assert (silent.count, told.count) == ("stuck", "lost")


def test_the_tally_counts() -> None:
    tally = Tally()
    tally.struck(fault(Kind.HUB_KILLED))
    assert tally.is_clean
    tally.add([model.Problem("leaked", "")])
    assert (tally.faults, tally.leaked, tally.during_a_cell) == (1, 1, 1)
    assert tally.kinds == {"hub-killed": 1}
    assert not tally.is_clean

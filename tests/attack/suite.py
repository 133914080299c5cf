"""All cases, and what running one shows."""

from __future__ import annotations

from dataclasses import dataclass

from tests.attack import at_gateway, inside, tokens
from tests.attack.bystander import Bystander
from tests.attack.case import Answer, Case, Step
from tests.attack.stage import Stage

_BROKEN = "broken"

CASES: list[Case] = [*at_gateway.CASES, *tokens.CASES, *inside.CASES]


@dataclass(frozen=True)
class Outcome:
    """Of one case. left_alone: whether ada noticed nothing until its end."""

    case: Case
    attack: Answer
    twin: Answer
    left_alone: bool

    @property
    def as_it_ought(self) -> bool:
        """Refused by the layer that has to, the twin let through, and nobody disturbed."""
        refused = self.attack.layer == self.case.layer
        return refused and self.twin_passed and self.left_alone

    @property
    def twin_passed(self) -> bool:
        """Whether what is allowed was let through."""
        return not self.twin.denied and self.twin.status != _BROKEN

    def __str__(self) -> str:
        verdict = "denied " if self.attack.denied else "LET IN "
        by = f"by the {self.attack.layer}" if self.attack.denied else ""
        twin = "its twin passes" if self.twin_passed else "its twin REFUSED"
        line = f"{verdict} {self.attack.status!s:<26} {self.case.name}: {by}; "
        line += f"{twin} ({self.twin.status})"
        if not self.as_it_ought:
            line += f"\n        attack: {self.attack}\n        twin: {self.twin}"
        return line


async def _try(step: Step, stage: Stage) -> Answer:
    try:
        return await step(stage)
    except Exception as error:  # noqa: BLE001 - the other cases are to be seen as well
        return Answer(_BROKEN, text=f"{type(error).__name__}: {error}")


async def run(case: Case, stage: Stage, bystander: Bystander) -> Outcome:
    """Attack, then the twin."""
    attack, twin = await _try(case.attack, stage), await _try(case.twin, stage)
    return Outcome(case, attack, twin, bystander.look(case.name))

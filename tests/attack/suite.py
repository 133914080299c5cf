"""All cases, and what running one shows."""

from __future__ import annotations

from dataclasses import dataclass

from tests.attack import at_gateway, inside, tokens
from tests.attack.bystander import Bystander
from tests.attack.case import Answer, Case
from tests.attack.stage import Stage

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
        return refused and not self.twin.denied and self.left_alone

    def __str__(self) -> str:
        verdict = "denied " if self.attack.denied else "LET IN "
        by = f"by the {self.attack.layer}" if self.attack.denied else ""
        twin = "its twin REFUSED" if self.twin.denied else "its twin passes"
        line = f"{verdict} {self.attack.status!s:<26} {self.case.name}: {by}; "
        line += f"{twin} ({self.twin.status})"
        if not self.as_it_ought:
            line += f"\n        attack: {self.attack}\n        twin: {self.twin}"
        return line


async def run(case: Case, stage: Stage, bystander: Bystander) -> Outcome:
    """Attack, then the twin."""
    attack = await case.attack(stage)
    twin = await case.twin(stage)
    return Outcome(case, attack, twin, bystander.look(case.name))

"""When kernels end, and why. Pure.

`policy` says which rules apply to a kernel, `activity` what it does as its gateway reports, and
`decide` what follows from both at a moment. A kernel is never ended by what is decided here: at the
deadline its gateway is asked to seal it, and the gateway's word is the only one that counts.
"""

from hub_service.culling.activity import Activity, Observed, only_puts_off
from hub_service.culling.decide import Confirm, Demand, Keep, Verdict, Warn, decide
from hub_service.culling.policy import Policy, Rules

__all__ = [
    "Activity",
    "Confirm",
    "Demand",
    "Keep",
    "Observed",
    "Policy",
    "Rules",
    "Verdict",
    "Warn",
    "decide",
    "only_puts_off",
]

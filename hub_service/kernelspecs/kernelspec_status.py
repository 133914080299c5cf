"""What the status of a JupyterKernelSpec and of a JupyterKernelTemplate says. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from hub_service import conditions
from hub_service.conditions import Condition
from hub_service.kernels import kernel_events
from hub_service.kinds import (
    ACCEPTED,
    FINISHED_PHASES,
    LABEL_COMPONENT,
    LABEL_MANAGED_BY,
    LABEL_NAME,
    MANAGER,
    Object,
    Reason,
    Resource,
    is_deleting,
    name_of,
    spec_of,
    status_of,
)
from hub_service.pods import podsecurity, podtemplate
from hub_service.pods.podsecurity import Policy


class Problem(NamedTuple):
    """Why no kernel can be started: one of kinds.Reason, and a sentence."""

    reason: str
    message: str


def is_in_use(kernel: Object) -> bool:
    """Whether a kernel counts among those of its spec: it is neither over nor about to go."""
    return status_of(kernel).get("phase") not in FINISHED_PHASES and not is_deleting(kernel)


def spec_status(
    spec: Object, problem: Problem | None, left_out: list[str], kernels: int, now: datetime
) -> Object:
    """The status of a JupyterKernelSpec.

    problem: why no kernel can be started from it; left_out: what of its template is not taken;
    kernels: that were started from it and are there.
    """
    if problem is not None:
        accepted = Condition(ACCEPTED, False, problem.reason, problem.message)
    elif left_out:
        accepted = Condition(ACCEPTED, True, Reason.CORRECTED, "; ".join(left_out) + ".")
    else:
        accepted = Condition(ACCEPTED, True, Reason.ACCEPTED, "Kernels can be started from it.")
    return _status(spec, accepted, now) | {"kernels": kernels}


def not_allowed(template: Object, security: Policy) -> Problem | None:
    """What pods of a template would be refused for."""
    found = podsecurity.objection(template, security)
    return Problem(found.reason, str(found)) if found else None


def template_status(
    template: Object, specs: int, kernels: int, security: Policy, now: datetime
) -> Object:
    """The status of a JupyterKernelTemplate.

    specs: JupyterKernelSpecs that name it; kernels: that were started from it and are there.
    """
    pod_template: Object = spec_of(template).get("template") or {}
    wrong = podtemplate.invalid_quantity(pod_template)
    corrected = podtemplate.corrections(pod_template)
    if wrong:
        message = (
            f"spec.template.spec.{wrong.field} ({wrong.value!r}): this is no quantity of "
            "Kubernetes. Write a number, with a suffix where one is meant (500m, 2Gi)."
        )
        accepted = Condition(ACCEPTED, False, Reason.INVALID_QUANTITY, message)
    elif refused := not_allowed(pod_template, security):
        accepted = Condition(ACCEPTED, False, refused.reason, f"spec.template.{refused.message}")
    elif corrected:
        accepted = Condition(ACCEPTED, True, Reason.CORRECTED, "; ".join(corrected) + ".")
    else:
        accepted = Condition(ACCEPTED, True, Reason.ACCEPTED, "The template is used as it is.")
    return _status(template, accepted, now) | {"specs": specs, "kernels": kernels}


def trial_pod(spec: Object, template: Object, security: Policy) -> Object:
    """A pod as kernels of the spec get one, for asking the API server whether it would take it."""
    pod_spec = {**podsecurity.hardened(template["spec"], security), "restartPolicy": "Never"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "generateName": f"{name_of(spec)[:40]}-trial-",
            "labels": {
                **template["metadata"]["labels"],
                LABEL_NAME: "elastic-trial",
                LABEL_COMPONENT: "trial",
                LABEL_MANAGED_BY: MANAGER,
            },
            "annotations": template["metadata"]["annotations"],
        },
        "spec": pod_spec,
    }


def deletion_event(kernel: Object, resource: Resource, name: str, now: datetime) -> Object:
    """An Event on a kernel whose spec or template was deleted.

    Its name follows from what it says, so that it is there once, whoever finds it out again.
    """
    return kernel_events.event(
        kernel,
        f"{resource.kind.lower()}-deleted",
        "Normal",
        f"{resource.kind.removeprefix('Jupyter')}Deleted",
        f"{resource.kind} {name} was deleted. This kernel runs on, and restarts from its own copy "
        "of the pod template; no new ones can be started from it.",
        now,
    )


def _status(item: Object, accepted: Condition, now: datetime) -> Object:
    present = status_of(item).get("conditions") or []
    return {
        "conditions": conditions.merged(present, [accepted], now),
        "observedGeneration": item["metadata"].get("generation"),
    }

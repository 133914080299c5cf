"""What a Deployment says of the one thing that it runs, a gateway or a notebook server. Pure."""

from __future__ import annotations

from hub_service.conditions import Condition
from hub_service.kinds import AVAILABLE, Object, Reason, condition, status_of


def available(deployment: Object | None, what: str) -> Condition:
    """The condition Available of what a Deployment runs; `what` names it in the message."""
    unavailable = Reason.DEPLOYMENT_UNAVAILABLE
    if deployment is None:
        return Condition(AVAILABLE, False, unavailable, "There is no Deployment yet.")
    if status_of(deployment).get("observedGeneration", 0) < deployment["metadata"]["generation"]:
        return Condition(AVAILABLE, False, unavailable, "The Deployment is being changed.")
    failure = condition(deployment, "ReplicaFailure")
    if failure and failure.get("status") == "True":
        return Condition(AVAILABLE, False, unavailable, str(failure.get("message")))
    state = condition(deployment, "Available")
    if state and state.get("status") == "True":
        return Condition(
            AVAILABLE, True, Reason.DEPLOYMENT_AVAILABLE, f"The {what} answers its health check."
        )
    message = f"The {what} does not answer its health check yet."
    progress = condition(deployment, "Progressing")
    if progress and progress.get("status") == "False":
        message = f"{message} {progress.get('message')}"
    return Condition(AVAILABLE, False, unavailable, message)

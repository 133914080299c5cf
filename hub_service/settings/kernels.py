"""The sections `start`, `liveness` and `orphans`: a kernel's life, and what is left of it."""

from __future__ import annotations

from pydantic import Field

from hub_service.settings.section import Seconds, Section


class StartSettings(Section):
    """How long each phase of a kernel's start may take, from the click to its first answer.

    A phase's time begins when the one before it ends. The admission, scheduling, image and
    container phases are judged by the service, the kernel's first answer by its gateway.
    """

    answer_after: Seconds = Field(
        5,
        ge=0,
        le=30,
        description="Seconds that a request for a kernel is held. A kernel that answers within "
        "them is returned running, and what is refused or fails within them is an HTTP error. "
        "After them it is returned as starting, and what comes of it is said in the notebook. "
        "Less than what proxies between a notebook and its gateway allow for a request.",
    )
    grace: Seconds = Field(
        60,
        ge=5,
        description="Seconds after which a kernel ends that was returned as starting, or whose "
        "gateway was replaced while it started, if no notebook has connected to it and nothing "
        "was run in it.",
    )
    admission_timeout: Seconds = Field(
        60,
        description="Seconds from a kernel's creation until its pod is made; 0 or less: no end.",
    )
    scheduling_timeout: Seconds = Field(
        28800,
        description="Seconds that its pod may wait for a node, in line for a GPU for example, or "
        "for its namespace's ResourceQuota; and before that, with `quota.whenFull: wait`, for "
        "another kernel of its user to end. 0 or less: no end.",
    )
    image_timeout: Seconds = Field(
        1800,
        description="Seconds that the pull of one image may take; 0 or less: no end.",
    )
    container_timeout: Seconds = Field(
        600,
        description="Seconds that the rest of the pod's preparation may take, from a node being "
        "found to the kernel's container running: volumes, init containers (such as the "
        "installation of packages); 0 or less: no end.",
    )
    answer_timeout: Seconds = Field(
        120,
        ge=5,
        description="Seconds from the container running to the kernel's first answer, where the "
        "JupyterGateway doesn't say (startTimeout).",
    )
    autoscaler: bool = Field(
        False,
        description="Whether nodes are added to the cluster as pods need them. Then a kernel "
        "that asks for more than any present node has waits, rather than fail at once. Where a "
        "cluster autoscaler has spoken of the pod in its Events, this is known anyway.",
    )

    @property
    def longest_request(self) -> int:
        """Seconds that a gateway may hold a request: a start's, or that of a restart in place."""
        return max(self.answer_after, self.answer_timeout)


class WarmKernelSettings(Section):
    """Pods that wait for kernels of a JupyterKernelSpec (`spec.warm`), ready to be one."""

    gpus: bool = Field(
        False,
        description="Whether specs whose kernels have GPUs may have such pods. Each holds its GPUs "
        "while nobody uses them, until somebody waits for one.",
    )
    most: int = Field(
        10,
        ge=0,
        description="Most that one spec may ask for; 0: no spec has any.",
        json_schema_extra={"unit": "pods"},
    )


class LivenessSettings(Section):
    """What becomes of a kernel whose process does not answer any more, though it is idle."""

    timeout: Seconds = Field(
        60,
        description="Seconds without an answer to its gateway's heartbeat after which an idle "
        "kernel's process is started again in its pod; 0 or less: never. Busy kernels are never "
        "taken for dead, nor are those that the gateway can't reach.",
    )
    restarts: int = Field(
        3,
        ge=0,
        description="How many times in a row before the kernel fails, with more time in between "
        "each time.",
        json_schema_extra={"unit": "restarts"},
    )


class OrphanSettings(Section):
    """What has lost its owner: kernels of a deleted gateway, pods and Secrets without a kernel."""

    grace: Seconds = Field(
        300,
        ge=1,
        description="Seconds for which it is left, in case the owner comes back: a gateway that is "
        "deleted and made again within that time finds its kernels.",
    )

"""The section `culling`: when kernels end that nobody uses."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from hub_service.culling import Rules
from hub_service.settings.section import Seconds, Section

# A year: more is meant as never, which is 0.
_LONGEST = 366 * 24 * 3600
_WARNING = 300

_Time = Annotated[Seconds, Field(strict=True, le=_LONGEST)]
_Warning = Annotated[Seconds, Field(strict=True, ge=0, le=_LONGEST)]
_Extension = Annotated[Seconds, Field(strict=True, ge=1, le=_LONGEST)]
_Extensions = Annotated[int, Field(strict=True, ge=0, le=1000, json_schema_extra={"unit": "times"})]
_Flag = Annotated[bool, Field(strict=True)]


def _check_warning(warning: int | None, idle_timeout: int | None, max_age: int | None) -> None:
    for name, seconds in (("idleTimeout", idle_timeout), ("maxAge", max_age)):
        if warning is not None and seconds is not None and 0 < seconds <= warning:
            raise ValueError(
                f"warning: {warning} s before an end is no less than {name}, {seconds} s: write a "
                "shorter warning, or 0 for none"
            )


class CullingRules(Section):
    """Rules for some kernels; what is left out is by the next place that has it."""

    idle_timeout: _Time | None = Field(
        None, description="Seconds after which an idle kernel ends; 0 or less: never."
    )
    max_age: _Time | None = Field(
        None,
        description="Seconds since its start after which a kernel ends, once it is idle; 0 or "
        "less: never.",
    )
    connected: _Flag | None = Field(None, description="Whether an open notebook keeps a kernel.")
    warning: _Warning | None = Field(
        None, description="Seconds before its end at which a kernel's user is told; 0: not at all."
    )
    extension: _Extension | None = Field(
        None, description="Seconds for which a kernel's user may keep it longer, each time."
    )
    extensions: _Extensions | None = Field(
        None, description="How many times a kernel's user may keep it; 0: not at all."
    )
    reclaim_after: _Time | None = Field(
        None,
        description="Seconds after which an idle kernel ends if somebody waits for what it holds; "
        "0 or less: never for that.",
    )

    @model_validator(mode="after")
    def _warned_in_time(self) -> Self:
        _check_warning(self.warning, self.idle_timeout, self.max_age)
        return self

    @property
    def written(self) -> dict[str, Any]:
        """What is written here, by name."""
        return self.model_dump(by_alias=True, exclude_none=True)


class CullingSettings(Section):
    """When idle kernels end, and old ones, where neither the kernel nor its gateway says otherwise.

    docs/culling.md has the order in which the places count that rules are written in.
    """

    idle_timeout: _Time = Field(
        3600,
        description="Seconds after which an idle kernel ends; 0 or less: never.",
    )
    max_age: _Time = Field(
        0,
        description="Seconds since its start after which a kernel ends, once it is idle; 0 or "
        "less: never. One that is at work is never ended.",
    )
    connected: _Flag = Field(
        False,
        description="Whether a notebook that is open in a browser keeps an idle kernel, until it "
        "is closed and for `idleTimeout` after that.",
    )
    warning: _Warning | None = Field(
        None,
        description=f"Seconds before its end at which a kernel's user is told; 0: not at all. "
        f"Unset: {_WARNING}. Half of the time-out at most.",
    )
    extension: _Extension = Field(
        3600, description="Seconds for which a kernel's user may keep it longer, each time."
    )
    extensions: _Extensions = Field(
        3,
        description="How many times a kernel's user may keep it, until it works again; 0: not at "
        "all.",
    )
    reclaim_after: _Time = Field(
        600,
        description="Seconds after which an idle kernel ends if somebody waits for what it holds; "
        "0 or less: never for that.",
    )
    gpu: CullingRules = Field(
        CullingRules(), description="Rules for kernels with a GPU, before those for all."
    )
    cpu: CullingRules = Field(
        CullingRules(), description="Rules for kernels without a GPU, before those for all."
    )
    groups: dict[str, CullingRules] = Field(
        default_factory=dict,
        description="Rules for kernels of a group's members, by the group's name in the hub. Of "
        "several groups the most generous counts, for each rule.",
    )
    lost_server_timeout: Seconds = Field(
        3600,
        description="Seconds after which kernels end, once idle, whose notebook server is gone "
        "without anybody having stopped it (its node was drained, its pod evicted); 0 or less: "
        "never.",
    )

    @model_validator(mode="after")
    def _warned_in_time(self) -> Self:
        _check_warning(self.warning, self.idle_timeout, self.max_age)
        return self

    @property
    def rules(self) -> Rules:
        """The rules as `culling.policy` takes them."""
        everybody = {
            "idleTimeout": self.idle_timeout,
            "maxAge": self.max_age,
            "connected": self.connected,
            "warning": _WARNING if self.warning is None else self.warning,
            "extension": self.extension,
            "extensions": self.extensions,
            "reclaimAfter": self.reclaim_after,
        }
        groups = {name: rules.written for name, rules in self.groups.items()}
        return Rules(everybody, self.gpu.written, self.cpu.written, groups)

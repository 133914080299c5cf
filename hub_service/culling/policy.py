"""Which rules for its end apply to a kernel, and where each of them is written. Pure.

Rules are written in several places, in each as many as one likes. For each rule the first place
counts that has it:

1. the kernel's own `spec.cullIdleTimeout`, which comes from its JupyterKernelSpec's
2. `spec.culling` of its JupyterKernelSpec
3. `spec.culling` of the JupyterKernelTemplate that it was made from
4. the settings for its owner's groups, `culling.groups`: the most generous of them
5. its JupyterGateway, `spec.culling` or `spec.cullIdleTimeout`
6. the settings for its kind of resources, `culling.gpu` or `culling.cpu`
7. the settings for all, `culling`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

from hub_service.kinds import Object, name_of, spec_of, status_of
from hub_service.pods import podtemplate

# Rules as they are written: their names in camelCase, 0 or less for never.
Written = Mapping[str, int | bool]

# Rules that are times; 0 or less is never.
_TIMES = {"idleTimeout": "idle_timeout", "maxAge": "max_age", "reclaimAfter": "reclaim_after"}
_NUMBERS = {"warning": "warning", "extension": "extension", "extensions": "extensions"}
_FLAGS = {"connected": "connected"}
FIELDS: Mapping[str, str] = {**_TIMES, **_FLAGS, **_NUMBERS}


@dataclass(frozen=True)
class Policy:
    """The rules for one kernel.

    idle_timeout: seconds; None never. max_age: seconds since the kernel's start; None never.
    connected: whether an open notebook keeps an idle kernel. warning: seconds before the end at
    which its user is told; 0: not at all. extension: seconds that one `keep` adds; extensions: how
    many times. reclaim_after: seconds idle after which somebody who waits may get what it holds;
    None never. sources: in words, where each rule is written, by the names of these fields.
    """

    idle_timeout: int | None = None
    max_age: int | None = None
    connected: bool = False
    warning: int = 0
    extension: int = 0
    extensions: int = 0
    reclaim_after: int | None = None
    sources: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def line(self) -> str:
        """All rules, each with its place; for people who look at a kernel."""
        by_place: list[tuple[str, list[str]]] = []
        for name, attribute in FIELDS.items():
            place = self.sources.get(attribute, "")
            if not by_place or by_place[-1][0] != place:
                by_place.append((place, []))
            by_place[-1][1].append(_said(name, getattr(self, attribute)))
        return "; ".join(
            ", ".join(words) + (f" ({place})" if place else "") for place, words in by_place
        )

    @cached_property
    def sentence(self) -> str:
        """When such a kernel ends, for its user."""
        ends = []
        if self.idle_timeout is not None:
            unless = ", unless a notebook is open" if self.connected else ""
            ends.append(f"after {words(self.idle_timeout)} idle{unless}{self.by('idle_timeout')}")
        if self.max_age is not None:
            ends.append(f"at an age of {words(self.max_age)}{self.by('max_age')}")
        if not ends:
            return f"Nothing ends it for being idle{self.by('idle_timeout')}."
        return f"It ends {', or '.join(ends)}."

    def by(self, attribute: str) -> str:
        """Where a rule is written, in brackets; nothing where that isn't known."""
        source = self.sources.get(attribute)
        return f" (by {source})" if source else ""


def words(seconds: int) -> str:
    """A time for people: 45 s, 10 min, 2 h."""
    for length, unit in ((3600, "h"), (60, "min")):
        if seconds >= length and seconds % length == 0:
            return f"{seconds // length} {unit}"
    return f"{seconds} s"


def _said(name: str, value: int | bool | None) -> str:
    if isinstance(value, bool):
        return f"{name} {str(value).lower()}"
    return f"{name} {'never' if value is None else value}"


@dataclass(frozen=True)
class Rules:
    """What the settings say: for all kernels, for those with a GPU, without one, and by group."""

    everybody: Written
    gpu: Written = field(default_factory=dict)
    cpu: Written = field(default_factory=dict)
    groups: Mapping[str, Written] = field(default_factory=dict)


class Place(NamedTuple):
    """Somewhere that rules are written, in words, and which."""

    source: str
    written: Written


def of_kernel(
    kernel: Object,
    *,
    spec: Object | None,
    template: Object | None,
    gateway: Object | None,
    groups: Iterable[str],
    rules: Rules,
) -> Policy:
    """The rules for a kernel.

    spec, template, gateway: its JupyterKernelSpec, JupyterKernelTemplate and JupyterGateway as they
    are now; None where there is none (any more). groups: the names of its owner's.
    """
    own = spec_of(kernel).get("cullIdleTimeout")
    places = [Place("the kernel's cullIdleTimeout", {} if own is None else {"idleTimeout": own})]
    for kind, item in (("JupyterKernelSpec", spec), ("JupyterKernelTemplate", template)):
        if item is not None:
            places.append(Place(f"{kind} {name_of(item)}", _written(item)))
    places += _of_groups(groups, rules)
    if gateway is not None:
        places.append(Place(f"JupyterGateway {name_of(gateway)}", _of_gateway(gateway)))
    if has_gpu(kernel):
        places.append(Place("the settings' culling.gpu", rules.gpu))
    else:
        places.append(Place("the settings' culling.cpu", rules.cpu))
    return resolve([*places, Place("the settings' culling", rules.everybody)])


def has_gpu(kernel: Object) -> bool:
    """Whether a kernel asks for a GPU."""
    counted = status_of(kernel).get("gpus")
    return bool(
        podtemplate.gpus(spec_of(kernel).get("template") or {}) if counted is None else counted
    )


def resolve(places: Iterable[Place]) -> Policy:
    """The policy by these places, the first being the strongest."""
    values: dict[str, int | bool | None] = {}
    sources: dict[str, str] = {}
    for place in places:
        for name, value in place.written.items():
            attribute = FIELDS[name]
            if attribute not in values:
                values[attribute] = _meant(name, value)
                sources[attribute] = place.source
    return replace(Policy(sources=sources), **values)  # type: ignore[arg-type]


def of_lost_server(policy: Policy) -> Policy:
    """For a kernel whose server is gone and was waited for long enough: as soon as it is idle.

    If its user keeps it meanwhile, that counts.
    """
    source = "the rule for kernels whose notebook server is gone"
    return Policy(
        idle_timeout=1,
        extension=policy.extension,
        extensions=policy.extensions,
        reclaim_after=policy.reclaim_after,
        sources={**policy.sources, "idle_timeout": source},
    )


def _written(item: Object) -> Written:
    written: Object = spec_of(item).get("culling") or {}
    return {name: value for name, value in written.items() if name in FIELDS}


def _of_gateway(gateway: Object) -> Written:
    timeout = spec_of(gateway).get("cullIdleTimeout")
    return {**({} if timeout is None else {"idleTimeout": timeout}), **_written(gateway)}


def _of_groups(groups: Iterable[str], rules: Rules) -> list[Place]:
    """Each rule by the group that is the most generous with it, the first by name of several."""
    best: dict[str, tuple[float, str]] = {}
    for group in sorted(groups):
        for name, value in rules.groups.get(group, {}).items():
            worth = _generosity(name, value)
            if name not in best or worth > best[name][0]:
                best[name] = (worth, group)
    return [
        Place(f"the settings' culling.groups.{group}", {name: rules.groups[group][name]})
        for name, (_, group) in best.items()
    ]


def _generosity(name: str, value: int | bool) -> float:
    return float("inf") if name in _TIMES and value <= 0 else float(value)


def _meant(name: str, value: int | bool) -> int | bool | None:
    return None if name in _TIMES and value <= 0 else value

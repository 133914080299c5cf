"""What a person may choose when a kernel is started: a JupyterKernelSpec's declared parameters.

Each parameter has a variable, `KERNEL_…`, by which the start request's environment gives its
value, and allows one kind of thing: a size or an image of those listed, packages of those allowed,
or a text. What is not declared can't be chosen. Pure.
"""

from __future__ import annotations

import copy
import itertools
import re
from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from typing import NamedTuple

from hub_service.kinds import Object, name_of, spec_of

# These have a meaning of their own; a spec can't hand them over to whoever starts a kernel.
RESERVED_VARIABLES = frozenset(
    {
        "KERNEL_ID",
        "KERNEL_USERNAME",
        "KERNEL_LANGUAGE",
        "KERNEL_NAME",
        "KERNEL_IMAGE",
        "KERNEL_EXECUTOR_IMAGE",
        "KERNEL_NAMESPACE",
        "KERNEL_POD_NAME",
        "KERNEL_SERVICE_ACCOUNT_NAME",
        "KERNEL_CLUSTER_ROLE",
        "KERNEL_UID",
        "KERNEL_GID",
        "KERNEL_CONNECTION_SECRET",
        "KERNEL_EXTRA_SPARK_OPTS",
        "KERNEL_VOLUMES",
        "KERNEL_VOLUME_MOUNTS",
        "KERNEL_LAUNCH_TIMEOUT",
        "KERNEL_WORKING_DIR",
    }
)

SIZES, IMAGES, PACKAGES, TEXT = "sizes", "images", "packages", "text"
_KINDS = (SIZES, IMAGES, PACKAGES, TEXT)
_MOST_VARIANTS = 30
_MOST_PACKAGES = 10
# Fields of the spec that a size may set.
_SIZE_FIELDS = ("resources", "sharedMemory", "nodeSelector")

# A package with extras and versions, and nothing else that pip would take: no addresses, no
# paths, no options, no markers.
_VERSIONS = r"(===|==|~=|!=|<=|>=|<|>)\s*[A-Za-z0-9][A-Za-z0-9.*+!_-]*"
_REQUIREMENT = re.compile(
    r"(?P<name>[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)"
    r"(\[[A-Za-z0-9._-]+(,[A-Za-z0-9._-]+)*\])?"
    rf"({_VERSIONS}(,{_VERSIONS})*)?"
)


class ParameterError(ValueError):
    """A value that is not allowed: names the parameter, its variable, the value and what is."""

    def __init__(self, parameter: Object, value: object, allowed: str) -> None:
        super().__init__(
            f"Parameter {parameter['name']} ({parameter['variable']}={value!r}): {allowed}."
        )


class Variant(NamedTuple):
    """A spec with some of its parameters chosen, offered under a name of its own.

    suffix: of the spec's name; title: of its display name; values: by variable.
    """

    suffix: str
    title: str
    values: dict[str, str]


class Chosen(NamedTuple):
    """What the values come to.

    fields: of the spec, in place of its own; packages: requirements for pip, and source: the rules
    of the parameter that allows them; values: by variable, for the kernel's environment.
    """

    fields: Object
    packages: list[str]
    source: Object
    values: dict[str, str]


def declared(spec: Object) -> list[Object]:
    """The spec's parameters."""
    return list(spec_of(spec).get("parameters") or [])


def variables(spec: Object) -> list[str]:
    """The variables of the spec's parameters."""
    return [parameter["variable"] for parameter in declared(spec)]


def problem(spec: Object) -> tuple[str, object, str, str] | None:
    """What is wrong with the declarations: field, value, problem and way out; None if nothing."""
    seen: set[str] = set()
    for position, parameter in enumerate(declared(spec)):
        where, variable = f"spec.parameters[{position}]", parameter["variable"]
        if variable in RESERVED_VARIABLES:
            field = f"{where}.variable"
            return field, variable, "this variable has a meaning of its own", "Choose another"
        if variable in seen:
            field = f"{where}.variable"
            return field, variable, "another parameter has this variable", "Choose another"
        seen.add(variable)
        default, kind = parameter.get("default"), _kind(parameter)
        if pattern := (parameter.get(TEXT) or {}).get("pattern"):
            try:
                re.compile(pattern)
            except re.error as error:
                field = f"{where}.text.pattern"
                return field, pattern, f"this is no regular expression: {error}", "Correct it"
        if default is not None:
            try:
                _check(parameter, kind, default)
            except ParameterError as error:
                way_out = "Name one that is allowed, or remove the default"
                return f"{where}.default", default, str(error).rstrip("."), way_out
    if len(list(itertools.islice(_combinations(spec), _MOST_VARIANTS + 1))) > _MOST_VARIANTS:
        return (
            "spec.parameters",
            [parameter["name"] for parameter in declared(spec) if parameter.get("variants")],
            f"these make more than {_MOST_VARIANTS} variants in the launcher",
            "Set variants: true on fewer parameters",
        )
    return None


def variants(spec: Object) -> list[Variant]:
    """The spec's variants for the launcher: every choice of the parameters with `variants`."""
    return list(itertools.islice(_combinations(spec), _MOST_VARIANTS))


def names(spec: Object) -> list[str]:
    """The names under which a spec is offered: its own and its variants'."""
    return [name_of(spec) + suffix for suffix in ("", *(v.suffix for v in variants(spec)))]


def choose(spec: Object, given: Mapping[str, str]) -> Chosen:
    """What the values in `given`, by variable, come to; defaults stand in. Raises ParameterError.

    An empty value is none.
    """
    fields: Object = {}
    packages: list[str] = []
    source: Object = {}
    values: dict[str, str] = {}
    for parameter in declared(spec):
        kind = _kind(parameter)
        value = given.get(parameter["variable"]) or parameter.get("default")
        if not value:
            continue
        _check(parameter, kind, value)
        values[parameter["variable"]] = value
        if kind == PACKAGES:
            packages += requirements(value)
            source = parameter[PACKAGES]
        elif kind in (SIZES, IMAGES):
            choice = next(c for c in parameter[kind] if c["name"] == value)
            wanted = _SIZE_FIELDS if kind == SIZES else ("image",)
            fields |= {name: copy.deepcopy(choice[name]) for name in wanted if name in choice}
    return Chosen(fields, packages, source, values)


def requirements(value: str) -> list[str]:
    """The requirements in a parameter's value; they are separated by spaces."""
    return value.split()


def _kind(parameter: Object) -> str:
    return next(kind for kind in _KINDS if kind in parameter)


def _check(parameter: Object, kind: str, value: str) -> None:
    if kind in (SIZES, IMAGES):
        names = [choice["name"] for choice in parameter[kind]]
        if value not in names:
            raise ParameterError(parameter, value, f"allowed are {', '.join(names)}")
    elif kind == PACKAGES:
        _check_packages(parameter, value)
    else:
        _check_text(parameter, value)


def _check_packages(parameter: Object, value: str) -> None:
    rules: Object = parameter[PACKAGES]
    wanted, most = requirements(value), int(rules.get("maxCount") or _MOST_PACKAGES)
    if len(wanted) > most:
        raise ParameterError(parameter, value, f"at most {most} packages are allowed")
    patterns = rules.get("allowed") or []
    for requirement in wanted:
        match = _REQUIREMENT.fullmatch(requirement)
        if match is None:
            raise ParameterError(
                parameter,
                requirement,
                "write names of packages, with versions if need be (pandas>=2,<3), separated by "
                "spaces; addresses, paths and options are not allowed",
            )
        name = _normalized(match["name"])
        if not any(fnmatchcase(name, _normalized(pattern)) for pattern in patterns):
            raise ParameterError(
                parameter, requirement, f"allowed packages are {', '.join(patterns) or 'none'}"
            )


def _check_text(parameter: Object, value: str) -> None:
    rules: Object = parameter[TEXT]
    allowed, pattern = rules.get("allowed"), rules.get("pattern")
    if allowed is not None and value not in allowed:
        raise ParameterError(parameter, value, f"allowed are {', '.join(allowed)}")
    if pattern and not re.fullmatch(pattern, value):
        raise ParameterError(parameter, value, f"what is allowed matches {pattern}")


def _combinations(spec: Object) -> Iterator[Variant]:
    """Variants, one after the other: their number can be large."""
    offered = []
    for parameter in declared(spec):
        kind = _kind(parameter)
        if parameter.get("variants") and kind in (SIZES, IMAGES):
            # A default is what the spec itself, without a suffix, stands for.
            others = [c for c in parameter[kind] if c["name"] != parameter.get("default")]
            offered.append([(parameter, None), *((parameter, choice) for choice in others)])
    for combination in itertools.product(*offered):
        chosen = [(parameter, choice) for parameter, choice in combination if choice]
        if chosen:
            yield Variant(
                "".join(f"--{parameter['name']}-{choice['name']}" for parameter, choice in chosen),
                ", ".join(choice.get("displayName") or choice["name"] for _, choice in chosen),
                {parameter["variable"]: choice["name"] for parameter, choice in chosen},
            )


def _normalized(name: str) -> str:
    """A package's name as indexes compare it; wildcards stay."""
    return re.sub(r"[-_.]+", "-", name).lower()

"""Which specs a gateway offers, and the pod template that a start is made of."""

from __future__ import annotations

from typing import Any

import pytest

from elastic_spawner.gateway.errors import KernelError
from elastic_spawner.gateway.gateway_resource import GatewayResource, read
from elastic_spawner.gateway.identity import Identity
from elastic_spawner.gateway.kernelspecs import SpecCatalog
from hub_service.kinds import (
    JUPYTER_GATEWAYS,
    JUPYTER_KERNEL_SPECS,
    JUPYTER_KERNEL_TEMPLATES,
    Object,
    Resource,
)
from hub_service.kube import ApiError, Reflector


def cache(resource: Resource, *items: Object) -> Reflector:
    reflector = Reflector(None, resource, "users")  # type: ignore[arg-type]  # never run
    for item in items:
        item["metadata"]["namespace"] = "users"
        reflector.store.put(item)
    return reflector


def spec(name: str, **fields: Any) -> Object:
    return {"metadata": {"name": name}, "spec": {"image": f"image-{name}", **fields}}


def catalog(
    *specs: Object, kernels: str = "", default: str = "", templates: Any = ()
) -> SpecCatalog:
    gateway = GatewayResource(cache(JUPYTER_GATEWAYS), "elastic")
    names = kernels.split(",") if kernels else []
    item = {"metadata": {}, "spec": {"kernels": names, "defaultKernel": default}}
    gateway.offer = read(item, "elastic")

    async def read_template(namespace: str, name: str) -> Object:
        if namespace == "closed":
            raise ApiError(403, "Forbidden", "no")
        if (namespace, name) != ("open", "base"):
            raise ApiError(404, "NotFound", "no")
        return {"spec": {"template": {"metadata": {"from": "elsewhere"}}}}

    return SpecCatalog(
        "users",
        gateway,
        cache(JUPYTER_KERNEL_SPECS, *specs),
        cache(JUPYTER_KERNEL_TEMPLATES, *templates),
        read_template,
    )


def test_all_specs_are_offered_unless_the_gateway_names_some() -> None:
    specs = [spec("r"), spec("python"), spec("julia")]
    assert catalog(*specs).names() == ["julia", "python", "r"]
    some = catalog(*specs, kernels="r,python,missing")
    assert some.names() == ["python", "r"]
    with pytest.raises(KernelError, match="there are: python, r"):
        some.get("julia")


@pytest.mark.parametrize(
    ("caller", "names", "default"),
    [
        (Identity("ada", groups=frozenset({"course"})), ["gpu", "python"], "gpu"),
        (Identity("teacher"), ["gpu", "python"], "gpu"),
        (Identity("mallory", groups=frozenset({"teacher"})), ["python"], "python"),
        (Identity("notebook/users/x", notebook=("users", "x")), ["python"], "python"),
    ],
)
def test_a_caller_sees_what_is_for_them(caller: Identity, names: list[str], default: str) -> None:
    limited = spec("gpu", visibility={"groups": ["course"], "users": ["teacher"]})
    every = catalog(limited, spec("python"), default="gpu")
    theirs = every.seen_by(caller)
    assert (theirs.names(), theirs.default_name()) == (names, default)
    assert every.names() == ["gpu", "python"]  # the gateway's own view stays


@pytest.mark.parametrize(
    ("default", "kernels", "expected"),
    [("", "", "julia"), ("r", "", "r"), ("r", "python", "python"), ("gone", "", "julia")],
)
def test_the_default(default: str, kernels: str, expected: str) -> None:
    specs = [spec("r"), spec("python"), spec("julia")]
    assert catalog(*specs, default=default, kernels=kernels).default_name() == expected


def test_with_nothing_on_offer() -> None:
    assert catalog().models() == {"default": "python3", "kernelspecs": {}}
    with pytest.raises(KernelError, match="there are: none"):
        catalog().get("python")


def test_models_tell_nothing_of_the_cluster() -> None:
    model = catalog(spec("r", displayName="R", env=[{"name": "PASSWORD", "value": "x"}])).model("r")
    assert model["name"] == "r"
    assert model["spec"]["display_name"] == "R"
    assert model["spec"]["env"] == {}
    assert "image-r" not in str(model)


def test_variables_with_a_value_of_their_own_are_declared() -> None:
    env = [
        {"name": "KERNEL_A", "value": "1"},
        {"name": "KERNEL_B"},
        {"name": "KERNEL_C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]
    assert catalog(spec("r", env=env)).declared_variables("r") == ["KERNEL_A", "KERNEL_B"]


async def test_the_environment_of_a_start_wins_and_comes_first() -> None:
    env = [{"name": "KERNEL_A", "value": "default"}, {"name": "B", "value": "$(KERNEL_A)!"}]
    template = {
        "metadata": {"name": "big"},
        "spec": {
            "template": {
                "spec": {"containers": [{"name": "side", "image": "s"}, {"name": "kernel"}]}
            }
        },
    }
    specs = catalog(spec("r", env=env, template={"name": "big"}), templates=[template])

    result = (await specs.pod_template("r", {"KERNEL_A": "$(B)"})).template

    side, kernel = result["spec"]["containers"]
    assert "env" not in side
    assert kernel["image"] == "image-r"
    assert kernel["env"] == [
        {"name": "KERNEL_A", "value": "$$(B)"},
        {"name": "B", "value": "$(KERNEL_A)!"},
    ]


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ({"name": "missing"}, "there is no such JupyterKernelTemplate"),
        ({"name": "missing", "namespace": "open"}, "there is no such JupyterKernelTemplate"),
        ({"name": "base", "namespace": "closed"}, "group system:serviceaccounts:users"),
    ],
)
async def test_a_spec_that_cannot_start_says_why(template: Object, words: str) -> None:
    with pytest.raises(KernelError, match=words) as error:
        await catalog(spec("r", template=template)).pod_template("r", {})
    assert error.value.status == 422


async def test_a_template_of_another_namespace_is_read_when_it_is_needed() -> None:
    specs = catalog(spec("r", template={"name": "base", "namespace": "open"}))
    assert (await specs.pod_template("r", {})).template["metadata"]["labels"] == {
        "from": "elsewhere"
    }
    assert specs.template_of("r") == ("open", "base")


SIZES = {
    "name": "size",
    "variable": "KERNEL_SIZE",
    "variants": True,
    "sizes": [{"name": "big", "displayName": "Big", "resources": {"limits": {"memory": "8Gi"}}}],
}


async def test_choices_are_offered_as_kernels_of_their_own() -> None:
    specs = catalog(spec("r", displayName="R", parameters=[SIZES]))
    assert specs.names() == ["r", "r--size-big"]
    assert specs.model("r--size-big")["spec"]["display_name"] == "R (Big)"
    assert specs.declared_variables("r") == ["KERNEL_SIZE"]
    # What the launcher's entry says goes before what the notebook server always sends.
    made = await specs.pod_template("r--size-big", {"KERNEL_SIZE": "", "KERNEL_ID": "x"})
    container = made.template["spec"]["containers"][0]
    assert container["resources"] == {"limits": {"memory": "8Gi"}}
    assert made.values == {"KERNEL_SIZE": "big"}
    assert {entry["name"]: entry["value"] for entry in container["env"]} == {
        "KERNEL_ID": "x",
        "KERNEL_SIZE": "big",
    }


def test_a_gateway_may_offer_a_variant_alone() -> None:
    specs = [spec("r", parameters=[SIZES]), spec("other")]
    assert catalog(*specs, kernels="r--size-big").names() == ["r--size-big"]
    assert catalog(*specs, kernels="r").names() == ["r", "r--size-big"]
    assert catalog(*specs, default="r--size-big").default_name() == "r--size-big"
    shadowed = catalog(spec("r--size-big", displayName="Its own"), *specs)
    assert shadowed.model("r--size-big")["spec"]["display_name"] == "Its own"


async def test_a_value_that_is_not_allowed_says_what_is() -> None:
    specs = catalog(spec("r", displayName="R", parameters=[SIZES]))
    with pytest.raises(KernelError, match="R: Parameter size") as error:
        await specs.pod_template("r", {"KERNEL_SIZE": "huge"})
    assert error.value.status == 422
    assert "KERNEL_SIZE='huge'" in error.value.message
    assert "allowed are big" in error.value.message

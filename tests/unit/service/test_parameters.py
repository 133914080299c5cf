"""What a person may choose at start, and what comes of it."""

import pytest

from hub_service.kernelspecs import kernelspec, parameters
from hub_service.kernelspecs.kernelspec import KernelSpecError
from hub_service.kernelspecs.parameters import ParameterError

SIZE = {
    "name": "size",
    "variable": "KERNEL_SIZE",
    "default": "small",
    "variants": True,
    "sizes": [
        {"name": "small", "resources": {"limits": {"memory": "1Gi"}}},
        {
            "name": "large",
            "displayName": "Large",
            "resources": {"limits": {"memory": "8Gi", "nvidia.com/gpu": 1}},
            "sharedMemory": "4Gi",
        },
    ],
}
IMAGE = {
    "name": "framework",
    "variable": "KERNEL_FRAMEWORK",
    "variants": True,
    "images": [{"name": "torch", "image": "torch:2"}, {"name": "jax", "image": "jax:1"}],
}
PACKAGES = {
    "name": "packages",
    "variable": "KERNEL_PACKAGES",
    "packages": {
        "allowed": ["Tiny_*", "pandas"],
        "maxCount": 2,
        "findLinks": "http://wheels.svc:8000/simple/",
    },
}
TEXT = {"name": "seed", "variable": "KERNEL_SEED", "text": {"pattern": "[0-9]+"}}
MOOD = {"name": "mood", "variable": "KERNEL_MOOD", "text": {"allowed": ["calm", "busy"]}}
ALL = (SIZE, IMAGE, PACKAGES, TEXT, MOOD)


def a_spec(*declared, **fields):
    metadata = {"name": "python", "namespace": "users"}
    spec = {"image": "py:1", "parameters": list(declared), **fields}
    return {"metadata": metadata, "spec": spec}


def pod(spec, **values):
    return kernelspec.kernel_template(spec, None, values=values).template["spec"]


def test_without_a_value_the_default_counts_and_else_the_spec():
    container = pod(a_spec(*ALL))["containers"][0]
    assert container["resources"] == {"limits": {"memory": "1Gi"}}
    assert container["image"] == "py:1"
    assert container["env"] == [{"name": "KERNEL_SIZE", "value": "small"}]
    assert "initContainers" not in pod(a_spec(*ALL))


def test_a_size_an_image_and_a_text():
    spec = a_spec(
        *ALL, resources={"limits": {"cpu": 1}}, env=[{"name": "KERNEL_SEED", "value": "0"}]
    )
    made = pod(spec, KERNEL_SIZE="large", KERNEL_FRAMEWORK="jax", KERNEL_SEED="7", OTHER="x")
    container = made["containers"][0]
    assert container["resources"]["limits"] == {"memory": "8Gi", "nvidia.com/gpu": 1}
    assert container["image"] == "jax:1"
    assert made["volumes"][0]["emptyDir"]["sizeLimit"] == "4Gi"
    assert container["env"] == [
        {"name": "KERNEL_SIZE", "value": "large"},
        {"name": "KERNEL_FRAMEWORK", "value": "jax"},
        {"name": "KERNEL_SEED", "value": "7"},
    ]


def test_packages_are_installed_by_the_kernels_own_image_without_its_gpu():
    spec = a_spec(SIZE, PACKAGES, env=[{"name": "PYTHONPATH", "value": "/lib"}])
    made = pod(spec, KERNEL_SIZE="large", KERNEL_PACKAGES="tiny.greeting==1.0 pandas[all]>=2,<3")
    (installer,), (container,) = made["initContainers"], made["containers"]
    assert installer["image"] == container["image"]
    assert installer["resources"] == {"limits": {"memory": "8Gi"}}
    assert installer["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert installer["command"][0] == "python3"
    assert installer["command"][4:] == [
        "--no-index",
        "--find-links",
        "http://wheels.svc:8000/simple/",
        "--trusted-host",
        "wheels.svc:8000",
        "--",
        "tiny.greeting==1.0",
        "pandas[all]>=2,<3",
    ]
    assert {"name": "PYTHONPATH", "value": "/opt/elastic-packages/site:/lib"} in container["env"]


def test_an_index_goes_before_what_the_image_is_configured_for():
    rules = {"allowed": ["*"], "indexURL": "https://index/simple"}
    made = pod(a_spec({**PACKAGES, "packages": rules}), KERNEL_PACKAGES="anything")
    assert made["initContainers"][0]["command"][4:7] == [
        "--index-url",
        "https://index/simple",
        "--",
    ]


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("KERNEL_SIZE", "huge", "allowed are small, large"),
        ("KERNEL_FRAMEWORK", "evil:latest", "allowed are torch, jax"),
        ("KERNEL_PACKAGES", "requests", r"allowed packages are Tiny_\*, pandas"),
        ("KERNEL_PACKAGES", "tiny-a tiny-b tiny-c", "at most 2 packages"),
        ("KERNEL_PACKAGES", "--index-url=http://evil", "options are not allowed"),
        ("KERNEL_PACKAGES", "tiny-a@http://evil/a.whl", "options are not allowed"),
        ("KERNEL_PACKAGES", "./tiny-a", "options are not allowed"),
        ("KERNEL_PACKAGES", "tiny-a;python_version>'3'", "options are not allowed"),
        ("KERNEL_SEED", "7; rm", r"matches \[0-9\]+"),
        ("KERNEL_MOOD", "angry", "allowed are calm, busy"),
    ],
)
def test_what_is_not_allowed_names_parameter_value_and_what_is(variable, value, words):
    with pytest.raises(ParameterError, match=words) as error:
        pod(a_spec(*ALL), **{variable: value})
    assert str(error.value).startswith("Parameter ")
    assert variable in str(error.value)


def test_variants_are_all_choices_but_the_default():
    names = {variant.suffix: variant for variant in parameters.variants(a_spec(*ALL))}
    assert list(names) == [
        "--framework-torch",
        "--framework-jax",
        "--size-large",
        "--size-large--framework-torch",
        "--size-large--framework-jax",
    ]
    both = names["--size-large--framework-jax"]
    assert both.title == "Large, jax"
    assert both.values == {"KERNEL_SIZE": "large", "KERNEL_FRAMEWORK": "jax"}
    assert parameters.names(a_spec({**SIZE, "variants": False})) == ["python"]


@pytest.mark.parametrize(
    ("declared", "field", "words"),
    [
        ([{**SIZE, "variable": "KERNEL_IMAGE"}], "spec.parameters[0].variable", "of its own"),
        ([SIZE, {**TEXT, "variable": "KERNEL_SIZE"}], "spec.parameters[1].variable", "another"),
        ([{**SIZE, "default": "tiny"}], "spec.parameters[0].default", "small, large"),
        ([{**TEXT, "text": {"pattern": "("}}], "spec.parameters[0].text.pattern", "regular"),
        (
            [
                {**IMAGE, "name": name, "variable": f"KERNEL_{name}", "images": choices}
                for name, choices in (
                    (n, [{"name": str(i), "image": "x"} for i in range(5)]) for n in "AB"
                )
            ],
            "spec.parameters",
            "more than 30 variants",
        ),
    ],
    ids=["reserved", "twice", "default", "pattern", "too many variants"],
)
def test_declarations_that_cannot_be_carried_out(declared, field, words):
    with pytest.raises(KernelSpecError, match=words) as error:
        pod(a_spec(*declared))
    assert error.value.reason == "InvalidParameter"
    assert error.value.field == field

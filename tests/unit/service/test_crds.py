"""The custom resource definitions say what every field is for."""

from pathlib import Path

import pytest
import yaml

from hub_service import kinds

CRDS = Path(__file__).parents[3] / "crds"
DEFINITIONS = {
    definition["spec"]["names"]["kind"]: definition
    for definition in (yaml.safe_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml")))
}
RESOURCES = {
    resource.kind: resource
    for resource in (
        kinds.JUPYTER_KERNELS,
        kinds.JUPYTER_KERNEL_SPECS,
        kinds.JUPYTER_KERNEL_TEMPLATES,
        kinds.JUPYTER_GATEWAYS,
        kinds.JUPYTER_NOTEBOOKS,
        kinds.JUPYTER_LEDGERS,
    )
}


def fields(schema, path=""):
    """(path, schema) of every named field below a schema."""
    for name, field in schema.get("properties", {}).items():
        yield f"{path}.{name}", field
        yield from fields(field, f"{path}.{name}")
    if "items" in schema:
        yield from fields(schema["items"], f"{path}[]")


def schema_of(definition):
    (version,) = definition["spec"]["versions"]
    return version["schema"]["openAPIV3Schema"]


def test_there_is_one_for_each_kind_and_its_names_agree():
    assert DEFINITIONS.keys() == RESOURCES.keys()
    for kind, definition in DEFINITIONS.items():
        resource = RESOURCES[kind]
        assert definition["metadata"]["name"] == f"{resource.plural}.{resource.group}"
        assert definition["spec"]["versions"][0]["name"] == resource.version
        assert "elastic" in definition["spec"]["names"]["categories"]


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_every_field_is_described(definition):
    known = dict(fields(schema_of(definition)))
    assert len(known) > 5
    # The API server describes metadata itself, and lets only its name be looked at here.
    bare = [
        path
        for path, field in known.items()
        if not field.get("description") and not path.startswith(".metadata")
    ]
    assert bare == []


@pytest.mark.parametrize("definition", DEFINITIONS.values(), ids=DEFINITIONS.keys())
def test_status_is_a_subresource(definition):
    assert definition["spec"]["versions"][0]["subresources"] == {"status": {}}


def test_phases_and_states_are_those_of_the_code():
    status = schema_of(DEFINITIONS["JupyterKernel"])["properties"]["status"]["properties"]
    phases = {value for name, value in vars(kinds.Phase).items() if name.isupper()}
    assert set(status["phase"]["enum"]) == phases
    states = status["activity"]["properties"]["executionState"]["enum"]
    assert states == [kinds.STARTING, kinds.IDLE, kinds.BUSY]

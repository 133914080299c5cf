"""The generated references: what is missing in code or definitions fails the build."""

from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel, Field

from docs.generate.extension import reference
from docs.generate.kinds import kind_reference
from docs.generate.markdown import prose
from docs.generate.settings import settings_reference
from docs.generate.spawner import spawner_reference
from elastic_spawner import ElasticSpawner
from hub_service.settings import Settings

ROOT = Path(__file__).parents[3]


def test_every_setting_is_there_with_type_default_and_meaning():
    text = settings_reference(Settings)
    rows = {line.split("|")[1].strip(): line for line in text.splitlines() if line.startswith("|")}
    assert "## culling" in text
    assert "integer, seconds" in rows["`culling.idleTimeout`"]
    assert "`3600`" in rows["`culling.idleTimeout`"]
    assert "required" in rows["`gateway.image`"]
    assert "one of `DEBUG`, `INFO`, `WARNING`" in rows["`service.logLevel`"]


class _Undescribed(BaseModel):
    """A section."""

    depth: str = "x"


class _WithoutUnit(BaseModel):
    """A section."""

    depth: int = Field(1, description="How deep.")


def test_a_setting_without_description_is_an_error():
    with pytest.raises(ValueError, match="setting depth: has no description"):
        settings_reference(_Undescribed)


def test_a_number_without_a_unit_is_an_error_that_says_how_to_add_one():
    with pytest.raises(ValueError, match=r"setting depth: .*without a unit; add json_schema_extra"):
        settings_reference(_WithoutUnit)


def test_sections_in_lists_and_mappings_are_found():
    class Item(BaseModel):
        """One of several."""

        name: str = Field(description="Its name.")

    class Outer(BaseModel):
        """All."""

        items: list[Item] = Field(default_factory=list, description="Several.")
        named: dict[str, Item] | None = Field(None, description="By name.")

    text = settings_reference(Outer)
    assert "`items[].name`" in text
    assert "`named.NAME.name`" in text
    assert "| `named` | mapping | unset | By name. |" in text


@pytest.mark.parametrize("path", sorted(ROOT.glob("crds/*.yaml")), ids=lambda path: path.stem)
def test_every_kind_has_a_reference(path):
    text = kind_reference(yaml.safe_load(path.read_text()))
    assert "## spec" in text
    page = (ROOT / "docs" / "reference" / f"{path.stem.removesuffix('s')}.md").read_text()
    assert f"<!-- reference: crds/{path.name} -->" in page


def test_a_field_without_description_is_an_error():
    definition = yaml.safe_load((ROOT / "crds" / "jupytergateways.yaml").read_text())
    (version,) = definition["spec"]["versions"]
    fields = version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    del fields["logLevel"]["description"]
    with pytest.raises(ValueError, match="field logLevel: has no description"):
        kind_reference(definition)


def test_every_trait_of_the_spawner_is_there():
    source = (ROOT / "elastic_spawner" / "spawner.py").read_text()
    text = spawner_reference(source)
    for name in ElasticSpawner.class_own_traits(config=True):
        assert f"## {name}\n" in text
    assert "default `120`" in text


def test_a_trait_without_help_is_an_error():
    source = "class ElasticSpawner:\n    depth = Integer(1, config=True)\n"
    with pytest.raises(ValueError, match="depth: this trait has no help text"):
        spawner_reference(source)


def test_what_looks_like_markup_in_a_description_is_shown_as_written():
    assert prose("names with * or <name>, as `<a>*`") == r"names with \* or \<name>, as `<a>*`"


def test_an_unknown_reference_is_an_error():
    with pytest.raises(ValueError, match="no reference is called 'nothing'"):
        reference("nothing")

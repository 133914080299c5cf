"""What all sections of the settings have in common, and the types that several use."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

# A DNS label, as Kubernetes asks of namespaces and Services.
DnsLabel = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
# The name of most other objects, a Secret's for example.
DnsName = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]

# Numbers with their units, which the reference tells.
Seconds = Annotated[int, Field(json_schema_extra={"unit": "seconds"})]
Port = Annotated[int, Field(ge=1024, le=65535, json_schema_extra={"unit": "TCP port"})]


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


class Section(BaseModel):
    """Keys are in camelCase; one that isn't known is an error."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=_camel, populate_by_name=True
    )

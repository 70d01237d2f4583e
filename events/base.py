"""The base of all contract models: frozen, versioned, tolerant of unknown fields.

A field that a newer writer adds must not break an older reader, so unknown fields are ignored. A
missing or malformed field is an error that names it.
"""

import hashlib
from typing import Literal

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_snake


class Contract(BaseModel):
    """Base of every document that is written to a bus, a bucket or the ledger."""

    model_config = ConfigDict(
        frozen=True,
        extra="ignore",
        populate_by_name=True,
        serialize_by_alias=True,
        # A Lambda reads one or two of these models; the others need no validator at import.
        defer_build=True,
        ser_json_inf_nan="null",
    )

    schema_version: Literal[1] = 1
    """The version of the document's form."""

    @classmethod
    def kind(cls) -> str:
        """The model's file-friendly name, such as ``model_created``."""
        return to_snake(cls.__name__)


def canonical_digest(model: BaseModel) -> str:
    """SHA-256 (hex) of a model's canonical JSON: the name of what it contains.

    Field order is the class's, so two equal models have equal digests on every machine.
    """
    return hashlib.sha256(model.model_dump_json(by_alias=True).encode()).hexdigest()

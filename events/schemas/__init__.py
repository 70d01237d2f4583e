"""JSON Schemas of every event and document, generated from the models with their docstrings.

They are committed for readers in other languages; ``make schemas`` writes them.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from events.base import Contract
from events.manifests import Champion, Quarantine, Release, RunSpec, Snapshot
from events.metrics_document import MetricsDocument
from events.outbound import OUTBOUND
from events.stack import Stack

FOLDER = Path(__file__).parent
PUBLISHED: tuple[type[Contract], ...] = (
    *OUTBOUND,
    Snapshot,
    RunSpec,
    Quarantine,
    Release,
    Champion,
    MetricsDocument,
    Stack,
)


def render() -> dict[str, str]:
    """The schema files by name, as they should be on disk."""
    return {
        f"{model.kind()}.json": json.dumps(
            model.model_json_schema(mode="serialization", schema_generator=_DescribedSchema),
            indent=2,
            sort_keys=True,
        )
        + "\n"
        for model in PUBLISHED
    }


class _DescribedSchema(GenerateJsonSchema):
    """Puts the docstring below a field into its schema.

    Pydantic's `use_attribute_docstrings` would read the sources at every cold start of a Lambda.
    """

    def model_schema(self, schema: core_schema.ModelSchema) -> JsonSchemaValue:
        generated = super().model_schema(schema)
        for base in reversed(schema["cls"].__mro__):
            if issubclass(base, BaseModel) and base is not BaseModel:
                for field, description in _docstrings(base):
                    if field in generated.get("properties", {}):
                        generated["properties"][field]["description"] = description
        return generated


def _docstrings(model: type) -> Iterator[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(model))).body
    for field, following in pairwise(getattr(definition, "body", ())):
        match field, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())

"""A model with those parts of its responses that are the same for every request."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.serving.exchange import CUSTOM_ATTRIBUTES, Headers

SCHEMA_VERSION = 1
UNKNOWN_BEACONS = "x-rssi-unknown-beacons"

Labels = npt.NDArray[Any]
"""(cells,) of text, as objects."""


@dataclass(frozen=True, slots=True, eq=False)
class CellField:
    """A field of the answer that follows from the cell, prepared for each format."""

    name: str
    json: Labels
    csv: Labels
    npy: npt.NDArray[np.str_]


@dataclass(frozen=True, slots=True, eq=False)
class ServedModel:
    """A model and the parts of its responses that no request changes."""

    model: LoadedModel
    identity: str
    """Release and digest, as SageMaker passes them to the client in the custom attributes."""
    json_head: bytes
    """A JSON response up to the first prediction."""
    headers: Headers
    """Headers of a response if no beacon is unknown and nothing has to be echoed."""
    json_labels: Labels
    """The cells' labels as JSON text."""
    csv_labels: Labels
    """The labels as CSV fields."""
    npy_labels: npt.NDArray[np.str_]
    """The labels as fixed-width text."""
    cell_fields: tuple["CellField", ...] = ()
    """What else follows from a cell: its floor and building, if the site has any."""

    @classmethod
    def of(cls, model: LoadedModel) -> "ServedModel":
        """Prepare a model that was loaded and checked."""
        identity = f"release={model.release};digest={model.digest}"
        head = {
            "schema_version": SCHEMA_VERSION,
            "release": model.release,
            "digest": model.digest,
            "predictions": [],
        }
        return cls(
            model=model,
            identity=identity,
            json_head=orjson.dumps(head).removesuffix(b"]}"),
            headers=response_headers(model, ((CUSTOM_ATTRIBUTES, identity),), 0),
            json_labels=_labels([orjson.dumps(label).decode() for label in model.cells]),
            csv_labels=_labels([_quoted(label) for label in model.cells]),
            npy_labels=np.array(model.cells, dtype=np.str_),
            cell_fields=tuple(
                CellField(
                    name=name,
                    json=_labels([orjson.dumps(text).decode() for text in texts]),
                    csv=_labels([_quoted(text or "") for text in texts]),
                    npy=np.array([text or "" for text in texts], dtype=np.str_),
                )
                for name, texts in model.cell_fields.items()
            ),
        )


def response_headers(model: LoadedModel, echoed: Headers, unknown: int) -> Headers:
    """The headers of a response.

    Args:
        model: the one that answered.
        echoed: what SageMaker expects back.
        unknown: how many beacons of the request the model does not know.
    """
    return (
        *echoed,
        ("x-rssi-release", model.release),
        ("x-rssi-digest", model.digest),
        ("x-rssi-schema-version", str(SCHEMA_VERSION)),
        (UNKNOWN_BEACONS, str(unknown)),
    )


def _labels(texts: Sequence[str]) -> Labels:
    return np.array(texts, dtype=object)


def _quoted(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text

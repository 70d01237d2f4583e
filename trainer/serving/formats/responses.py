"""Response bodies in JSON, JSON lines, CSV and npy, and the negotiation of the content type.

A client that accepts none of them is refused with 406.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson

from trainer.localization.bundle.loaded_model import LoadedModel, Numbers
from trainer.localization.decoding import CellIndices
from trainer.localization.readings import FloatMatrix
from trainer.serving.exchange import JSON, RequestRefusedError
from trainer.serving.formats.served_model import Labels, ServedModel

JSON_LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"
MAX_TOP_K = 20

_PART_ROWS = 2048
"""Rows of a large request with top cells are ranked in parts: each row holds all probabilities."""

_FEW = 4
"""Up to so many rows, one object per row takes less time than setting up columns."""

# numpy's own module for its format has no types.
_format: Any = np.lib.format

_NO_CELLS = np.empty((0, 0), dtype=np.intp)
_NO_NUMBERS = np.empty((0, 0))


Cuts = Sequence[slice]
"""Which rows of a batch go into each body."""


class PredictionColumns(NamedTuple):
    """The predictions for all rows, with the top cells if they were requested."""

    cells: CellIndices
    """(rows,) indices into the model's cells."""
    numbers: Numbers
    """(rows, fields) of the model's ``number_fields``."""
    top_cells: CellIndices
    """(rows, k) indices, the likeliest first; empty if they were not requested."""
    top_confidences: Numbers
    """(rows, k)."""


def predict_rows(model: LoadedModel, rssi: FloatMatrix, top_k: int) -> PredictionColumns:
    """Run the model on (rows, beacons) of dBm, and rank its ``top_k`` likeliest cells if not 0."""
    if top_k:
        starts = range(0, len(rssi), _PART_ROWS)
        return _joined([_with_top(model, rssi[at : at + _PART_ROWS], top_k) for at in starts])
    table = model.table(rssi)
    return PredictionColumns(table.cells, table.numbers, _NO_CELLS, _NO_NUMBERS)


def _with_top(model: LoadedModel, rssi: FloatMatrix, top_k: int) -> PredictionColumns:
    table = model.table(rssi, probabilities=True)
    # Stable, so that cells of equal probability keep the model's order on every machine.
    order = np.argsort(-table.probabilities, axis=1, kind="stable")[:, :top_k]
    confidences = np.take_along_axis(table.probabilities, order, axis=1)
    return PredictionColumns(
        table.cells, table.numbers, order, confidences.astype(np.float64).round(6)
    )


def _joined(parts: Sequence[PredictionColumns]) -> PredictionColumns:
    return PredictionColumns(
        np.concatenate([part.cells for part in parts]),
        np.concatenate([part.numbers for part in parts]),
        np.concatenate([part.top_cells for part in parts]),
        np.concatenate([part.top_confidences for part in parts]),
    )


def _texts(numbers: Numbers) -> list[list[str]]:
    """Each column of (rows, columns) as JSON text; NaN, for no position, becomes ``null``."""
    if not numbers.size:
        return []
    columns = np.ascontiguousarray(numbers.T)
    text = orjson.dumps(columns, option=orjson.OPT_SERIALIZE_NUMPY).decode()
    return [column.split(",") for column in text[2:-2].split("],[")]


def _columns(
    answers: PredictionColumns, labels: Labels, fields: Sequence[Labels]
) -> list[list[str]]:
    """All fields of the rows, column by column, as text."""
    columns = [labels[answers.cells].tolist(), *_texts(answers.numbers)]
    columns += [texts[answers.cells].tolist() for texts in fields]
    confidences = _texts(answers.top_confidences)
    for cells, confidence in zip(answers.top_cells.T, confidences, strict=True):
        columns += [labels[cells].tolist(), confidence]
    return columns


def _interleaved(columns: list[list[str]], before: Sequence[str]) -> list[str]:
    """The text of all rows, one piece after another, each column after its text in ``before``."""
    rows, stride = len(columns[0]), 2 * len(columns)
    pieces = [""] * (rows * stride)
    for place, (column, text) in enumerate(zip(columns, before, strict=True)):
        pieces[2 * place :: stride] = [text] * rows
        pieces[2 * place + 1 :: stride] = column
    return pieces


def _json_rows(
    served: ServedModel, answers: PredictionColumns, cuts: Cuts, separator: str
) -> list[str]:
    """The JSON objects of each cut's rows, with ``separator`` between them."""
    top = answers.top_cells.shape[1]
    names = (*served.model.number_fields, *(field.name for field in served.cell_fields))
    before = ['{"location":', *(f',"{name}":' for name in names)]
    for place in range(top):
        before += ['},{"location":' if place else ',"top":[{"location":', ',"confidence":']
    end = "}]}" if top else "}"
    # A row is two pieces a column; the end of an object is part of the next one's first piece.
    before[0] = skipped = end + separator + before[0]
    skip = len(skipped) - len('{"location":')
    stride = 2 * len(before)
    fields = [field.json for field in served.cell_fields]
    pieces = _interleaved(_columns(answers, served.json_labels, fields), before)
    return ["".join(pieces[cut.start * stride : cut.stop * stride])[skip:] + end for cut in cuts]


def _write_json(served: ServedModel, answers: PredictionColumns, cuts: Cuts) -> list[bytes]:
    if len(answers.cells) <= _FEW and not answers.top_cells.size:
        return _few_as_json(served, answers, cuts)
    rows = _json_rows(served, answers, cuts, ",")
    return [served.json_head + text.encode() + b"]}" for text in rows]


def _few_as_json(served: ServedModel, answers: PredictionColumns, cuts: Cuts) -> list[bytes]:
    cells, names = served.model.cells, ("location", *served.model.number_fields)
    fields = served.model.cell_fields
    rows = [
        dict(zip(names, (cells[cell], *numbers), strict=True))
        | {name: texts[cell] for name, texts in fields.items()}
        for cell, numbers in zip(answers.cells.tolist(), answers.numbers.tolist(), strict=True)
    ]
    return [served.json_head + orjson.dumps(rows[cut])[1:] + b"}" for cut in cuts]


def _write_json_lines(served: ServedModel, answers: PredictionColumns, cuts: Cuts) -> list[bytes]:
    return [f"{text}\n".encode() for text in _json_rows(served, answers, cuts, "\n")]


def _names(served: ServedModel, answers: PredictionColumns) -> list[str]:
    """The names of a table's columns."""
    names = ["location", *served.model.number_fields]
    names += [field.name for field in served.cell_fields]
    for place in range(1, answers.top_cells.shape[1] + 1):
        names += [f"top_{place}_location", f"top_{place}_confidence"]
    return names


def _write_csv(served: ServedModel, answers: PredictionColumns, cuts: Cuts) -> list[bytes]:
    names = _names(served, answers)
    columns = _columns(answers, served.csv_labels, [field.csv for field in served.cell_fields])
    for name, column in zip(names, columns, strict=True):
        is_number = name in served.model.number_fields or name.endswith("confidence")
        if is_number and "null" in column:
            column[:] = ["" if text == "null" else text for text in column]
    head, rows = ",".join(names), [*map(",".join, zip(*columns, strict=True))]
    return [("\n".join([head, *rows[cut]]) + "\n").encode() for cut in cuts]


def _write_npy(served: ServedModel, answers: PredictionColumns, cuts: Cuts) -> list[bytes]:
    """Structured arrays; ``location`` is text of one width, all else float64."""
    labels = served.npy_labels
    columns = [labels[answers.cells], *answers.numbers.T]
    columns += [field.npy[answers.cells] for field in served.cell_fields]
    for cells, confidences in zip(answers.top_cells.T, answers.top_confidences.T, strict=True):
        columns += [labels[cells], confidences]
    named = [*zip(_names(served, answers), columns, strict=True)]
    array = np.empty(len(answers.cells), dtype=[(name, column.dtype) for name, column in named])
    for name, column in named:
        array[name] = column
    return [_npy(array[cut]) for cut in cuts]


def _npy(array: npt.NDArray[np.void]) -> bytes:
    return _npy_head(array.dtype, len(array)) + array.tobytes()


# numpy needs more time for a header than for the rows of most requests.
@lru_cache(maxsize=256)
def _npy_head(dtype: np.dtype[np.void], rows: int) -> bytes:
    header = {"descr": _format.dtype_to_descr(dtype), "fortran_order": False, "shape": (rows,)}
    buffer = io.BytesIO()
    _format.write_array_header_1_0(buffer, header)
    return buffer.getvalue()


Writer = Callable[[ServedModel, PredictionColumns, Cuts], list[bytes]]
"""Serializes predictions once, and cuts them into one body for each request."""

WRITERS: Mapping[str, Writer] = {
    JSON: _write_json,
    CSV: _write_csv,
    NPY: _write_npy,
    JSON_LINES: _write_json_lines,
}
_RANGES = {"*/*": JSON, "application/*": JSON, "text/*": CSV}


def negotiated_type(accept: str) -> str:
    """The content type that a client prefers; JSON if it names none.

    Args:
        accept: the header, possibly empty.

    Raises:
        RequestRefusedError: 406, it accepts none of the types.
    """
    if accept in {"", "*/*", JSON}:
        return JSON
    best, best_quality = "", 0.0
    for item in accept.split(","):
        kind, _, parameters = item.partition(";")
        name = kind.strip().lower()
        content_type = name if name in WRITERS else _RANGES.get(name, "")
        quality = _quality(parameters)
        if content_type and quality > best_quality:
            best, best_quality = content_type, quality
    if not best:
        raise RequestRefusedError(
            406, f"Accept {accept[:100]!r} can't be met: take {_listed(WRITERS)}."
        )
    return best


def _quality(parameters: str) -> float:
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            try:
                return float(value)
            except ValueError:
                return 0.0
    return 1.0


def _listed(names: Mapping[str, object]) -> str:
    return " or ".join(names)

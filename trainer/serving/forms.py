"""The forms that an answer may have: JSON, JSON lines, CSV, npy; and which of them a client wants.

What may go wrong: a client that accepts none of them (406), and one that asks for top cells in
numbers that make no sense (400).
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat

import numpy as np
import orjson

from trainer.localization.bundle import AnswerColumn, LoadedModel
from trainer.localization.decoding import Predictions
from trainer.serving.exchange import JSON, RefusedError

JSON_LINES = "application/jsonlines"
CSV = "text/csv"
NPY = "application/x-npy"
SCHEMA_VERSION = 1
MAX_TOP_K = 20

_PART_ROWS = 2048

Columns = dict[str, AnswerColumn]


@dataclass(frozen=True, slots=True)
class Answers:
    """All rows' answers as columns, with the top cells beside them if they were asked for."""

    columns: Columns
    top: tuple[Columns, ...] = ()
    """Likeliest cell first: ``location`` and ``confidence`` of each row."""


def answers_to(model: LoadedModel, rssi: AnswerColumn, top_k: int) -> Answers:
    """Let a model answer, in parts, so that a large request's features need not fit into memory."""
    starts = range(0, len(rssi), _PART_ROWS)
    parts = [_part(model, rssi[start : start + _PART_ROWS], top_k) for start in starts]
    if len(parts) == 1:
        return parts[0]
    tops = zip(*(part.top for part in parts), strict=True)
    return Answers(_joined([part.columns for part in parts]), tuple(_joined(top) for top in tops))


def rows_of(answers: Answers, rows: slice) -> Answers:
    """The answers to some of the rows."""
    return Answers(_cut(answers.columns, rows), tuple(_cut(top, rows) for top in answers.top))


def _part(model: LoadedModel, rssi: AnswerColumn, top_k: int) -> Answers:
    predictions = model.predict(rssi)
    columns = model.answer_columns(predictions)
    return Answers(columns, _top(model, predictions, top_k) if top_k else ())


def _top(model: LoadedModel, predictions: Predictions, top_k: int) -> tuple[Columns, ...]:
    # Stable, so that cells of equal probability come in the model's order on every machine.
    order = np.argsort(-predictions.probabilities, axis=1, kind="stable")[:, :top_k]
    sure = np.take_along_axis(predictions.probabilities, order, axis=1)
    rounded = sure.astype(np.float64).round(6)
    labels = np.array(model.cells, dtype=object)[order]
    return tuple(
        {"location": labels[:, place], "confidence": rounded[:, place]}
        for place in range(order.shape[1])
    )


def _joined(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _cut(columns: Columns, rows: slice) -> Columns:
    return {name: column[rows] for name, column in columns.items()}


def _records(columns: Columns) -> list[dict[str, object]]:
    """One object a row; orjson writes NaN as null, which is what "without position" is."""
    rows = zip(*(column.tolist() for column in columns.values()), strict=True)
    return [*map(dict, map(zip, repeat(tuple(columns)), rows))]


def _predictions(answers: Answers) -> list[dict[str, object]]:
    records = _records(answers.columns)
    if answers.top:
        tops = zip(*map(_records, answers.top), strict=True)
        for record, top in zip(records, tops, strict=True):
            record["top"] = top
    return records


def _write_json(model: LoadedModel, answers: Answers) -> bytes:
    return orjson.dumps(
        {
            "schema_version": SCHEMA_VERSION,
            "release": model.release,
            "digest": model.digest,
            "predictions": _predictions(answers),
        }
    )


def _write_json_lines(_model: LoadedModel, answers: Answers) -> bytes:
    return b"".join(
        orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in _predictions(answers)
    )


def _table(answers: Answers) -> Columns:
    """Everything as columns of one table."""
    table = dict(answers.columns)
    for place, top in enumerate(answers.top, start=1):
        table |= {f"top_{place}_{name}": column for name, column in top.items()}
    return table


def _write_csv(_model: LoadedModel, answers: Answers) -> bytes:
    table = _table(answers)
    lines = [",".join(table)]
    rows = zip(*(_fields(column) for column in table.values()), strict=True)
    lines.extend(map(",".join, rows))
    return ("\n".join(lines) + "\n").encode()


def _fields(column: AnswerColumn) -> list[str]:
    if column.dtype == object:
        return [_quoted(text) for text in column.tolist()]
    return ["" if number != number else repr(number) for number in column.tolist()]  # noqa: PLR0124 - NaN is the only number that differs from itself


def _quoted(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def _write_npy(_model: LoadedModel, answers: Answers) -> bytes:
    """One structured array; ``location`` is text of fixed width, all else float64."""
    table = _table(answers)
    # "U" alone would pick the width of the widest text, and of none in an empty array.
    shown = {
        name: column.astype("U") if column.dtype == object else column
        for name, column in table.items()
    }
    rows = len(answers.columns["location"])
    array = np.empty(rows, dtype=[(name, column.dtype) for name, column in shown.items()])
    for name, column in shown.items():
        array[name] = column
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


Writer = Callable[[LoadedModel, Answers], bytes]

WRITERS: Mapping[str, Writer] = {
    JSON: _write_json,
    CSV: _write_csv,
    NPY: _write_npy,
    JSON_LINES: _write_json_lines,
}
_RANGES = {"*/*": JSON, "application/*": JSON, "text/*": CSV}


def chosen_form(accept: str) -> str:
    """The content type that a client likes best; JSON if it has no wish.

    Args:
        accept: the header, maybe empty.

    Raises:
        RefusedError: 406, it accepts nothing that there is.
    """
    if accept in {"", "*/*", JSON}:
        return JSON
    best, best_quality = "", 0.0
    for wish in accept.split(","):
        kind, _, parameters = wish.partition(";")
        name = kind.strip().lower()
        form = name if name in WRITERS else _RANGES.get(name, "")
        quality = _quality(parameters)
        if form and quality > best_quality:
            best, best_quality = form, quality
    if not best:
        raise RefusedError(406, f"Accept {accept[:100]!r} can't be met: take {_listed(WRITERS)}.")
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

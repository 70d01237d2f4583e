"""JSON lines and Parquet: each record becomes a row of a CSV in memory, which is then read as one.

So every rule for CSV holds for them too. A record's number stands for its line.
"""

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from trainer.training.errors import BadSurvey
from trainer.training.reading.formats.csv_blocks import LineBlock
from trainer.training.reading.formats.csv_reader import CsvFile
from trainer.training.reading.formats.csv_text import CsvHeader
from trainer.training.reading.formats.port import (
    ColumnSelection,
    FileFormat,
    FileLayout,
    RowBatch,
)

_PARQUET = b"PAR1"


@dataclass(frozen=True, slots=True, eq=False)
class TranscodedFile:
    """A file that was turned into CSV."""

    csv_file: CsvFile
    encoding: str

    @property
    def column_names(self) -> tuple[str, ...]:
        """The names of all fields."""
        return self.csv_file.column_names

    @property
    def file_format(self) -> FileFormat:
        """The format's name; there is no delimiter."""
        return replace(self.csv_file.file_format, encoding=self.encoding, delimiter="")

    def pivoted(self, beacon: int, rssi: int, time: int | None) -> "TranscodedFile":
        """The file with one fingerprint per row, where it has one reading per row."""
        return replace(self, csv_file=self.csv_file.pivoted(beacon, rssi, time))

    def batches(self, selection: ColumnSelection) -> Iterator[RowBatch]:
        """Read the records, some at a time.

        Raises:
            BadSurvey: there are none, or a column holds no number at all.
        """
        return self.csv_file.batches(selection)


class JsonLinesReader:
    """Reads one JSON object per line; the fields of nested objects count as the record's own."""

    def recognizes(self, name: str, beginning: bytes) -> bool:
        """By the file's name or its first character."""
        return name.endswith((".jsonl", ".ndjson")) or beginning.lstrip().startswith(b"{")

    def open(self, source: Path | bytes, layout: FileLayout) -> TranscodedFile:  # noqa: ARG002 - of the port
        """Read all records.

        Raises:
            BadSurvey: a line is no JSON object, or names one field twice.
            OSError: the file can't be read.
        """
        content = source if isinstance(source, bytes) else source.read_bytes()
        records = [
            _record(line, number)
            for number, line in enumerate(content.splitlines(), start=1)
            if line.strip()
        ]
        if not records:
            raise BadSurvey("The file is empty: upload one JSON object per fingerprint.")
        names = tuple(dict.fromkeys(name for record in records for name in record))
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(names)
        writer.writerows([[record.get(name, "") for name in names] for record in records])
        return _transcoded(names, text.getvalue().encode(), "JSON lines")


class ParquetReader:
    """Reads Parquet by Polars."""

    def recognizes(self, name: str, beginning: bytes) -> bool:  # noqa: ARG002 - of the port
        """By the first bytes."""
        return beginning.startswith(_PARQUET)

    def open(self, source: Path | bytes, layout: FileLayout) -> TranscodedFile:  # noqa: ARG002 - of the port
        """Read the whole table.

        Raises:
            BadSurvey: it is damaged, or a column holds something else than text and numbers.
            OSError: the file can't be read.
        """
        import polars as pl  # noqa: PLC0415 - a slow import

        try:
            frame = pl.read_parquet(io.BytesIO(source) if isinstance(source, bytes) else source)
            content = frame.write_csv().encode()
        except pl.exceptions.PolarsError as error:
            raise BadSurvey(f"The Parquet file can't be read: {error}.") from error
        return _transcoded(tuple(frame.columns), content, "Parquet")


def _record(line: bytes, number: int) -> dict[str, object]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise BadSurvey(f"Line {number} is no JSON: {error}.") from error
    if not isinstance(document, dict):
        raise BadSurvey(f"Line {number} is no JSON object: write one for each fingerprint.")
    record: dict[str, object] = {}
    for name, value in document.items():
        fields = value if isinstance(value, dict) else {name: value}
        for field, held in fields.items():
            if field in record:
                raise BadSurvey(f"Line {number} names the field {field!r} twice: rename one.")
            record[field] = "" if held is None else held
    return record


def _transcoded(names: tuple[str, ...], content: bytes, encoding: str) -> TranscodedFile:
    # The header is line 0, so that a record's number is its line.
    blocks = iter([LineBlock(0, content)])
    header = CsvHeader(tuple(name.strip() for name in names), ",")
    return TranscodedFile(CsvFile("utf-8", header, blocks, is_large=False), encoding)

"""Chooses the reader of a survey's file."""

import gzip
import io
import zlib
from pathlib import Path

from trainer.training.errors import BadSurvey
from trainer.training.reading.formats.csv_reader import CsvReader
from trainer.training.reading.formats.port import (
    FOUND_BY_LOOKING,
    FileLayout,
    SurveyFile,
    SurveyReader,
)
from trainer.training.reading.formats.transcoded import JsonLinesReader, ParquetReader
from trainer.training.reading.formats.unreadable import refuse_other_formats

READERS: tuple[SurveyReader, ...] = (ParquetReader(), JsonLinesReader(), CsvReader())
"""The first that recognizes a file reads it. CSV is the last and accepts any file: its refusals say
what is wrong with a file in no known format."""
BEGINNING_BYTES = 4096
MAX_UNPACKED_BYTES = 4 * 1024**3
"""Of a compressed file: a small one may unpack to more than any memory."""
_GZIP = b"\x1f\x8b"


def open_survey(
    source: Path | bytes, name: str, layout: FileLayout = FOUND_BY_LOOKING
) -> SurveyFile:
    """Open a survey with the reader of its format; gzip is unpacked first.

    Args:
        source: the file, or its content.
        name: the file's name, as uploaded.
        layout: what the site says of its files.

    Raises:
        BadSurvey: the file can't be read as a survey.
        OSError: the file can't be read.
    """
    beginning = _beginning(source)
    if beginning.startswith(_GZIP):
        source = _unpacked(source)
        beginning, name = source[:BEGINNING_BYTES], name.removesuffix(".gz")
    refuse_other_formats(beginning, source)
    reader = next(reader for reader in READERS if reader.recognizes(name, beginning))
    return reader.open(source, layout)


def _beginning(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:BEGINNING_BYTES]
    with source.open("rb") as file:
        return file.read(BEGINNING_BYTES)


def _unpacked(source: Path | bytes) -> bytes:
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with gzip.open(file) as unpacked:
            content = unpacked.read(MAX_UNPACKED_BYTES + 1)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise BadSurvey(f"The gzip file is damaged ({error}): upload it again.") from error
    if len(content) > MAX_UNPACKED_BYTES:
        raise BadSurvey(
            f"The gzip file unpacks to more than {MAX_UNPACKED_BYTES // 1024**3} GiB: split it."
        )
    return content

"""Chooses the reader of a survey's file."""

from pathlib import Path

from trainer.training.reading.formats.csv_reader import CsvReader
from trainer.training.reading.formats.port import SurveyFile, SurveyReader

READERS: tuple[SurveyReader, ...] = (CsvReader(),)
"""The first that recognizes a file reads it. CSV is the last and accepts any file: its refusals say
what is wrong with a file in no known format."""
BEGINNING_BYTES = 4096


def open_survey(source: Path | bytes, name: str) -> SurveyFile:
    """Open a survey with the reader of its format.

    Args:
        source: the file, or its content.
        name: the file's name, as uploaded.

    Raises:
        BadSurvey: the file can't be read as a survey.
        OSError: the file can't be read.
    """
    beginning = _beginning(source)
    reader = next(reader for reader in READERS if reader.recognizes(name, beginning))
    return reader.open(source)


def _beginning(source: Path | bytes) -> bytes:
    if isinstance(source, bytes):
        return source[:BEGINNING_BYTES]
    with source.open("rb") as file:
        return file.read(BEGINNING_BYTES)

"""Formats that hold no survey as they are, told by name with what to do instead."""

import io
import zipfile
from pathlib import Path

from trainer.training.errors import BadSurvey

_ZIP, _OLD_OFFICE = b"PK\x03\x04", b"\xd0\xcf\x11\xe0"
_OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "a 7-Zip archive",
    b"BZh": "compressed by bzip2",
    b"\xfd7zXZ\x00": "compressed by xz",
    b"\x28\xb5\x2f\xfd": "compressed by Zstandard",
    b"\x89HDF": "an HDF5 file",
    b"MATLAB": "a MATLAB file",
    b"%PDF": "a PDF",
    b"SQLite format 3": "an SQLite database",
}


def refuse_other_formats(beginning: bytes, source: Path | bytes) -> None:
    """Refuse a file whose first bytes name a format that is not read.

    Raises:
        BadSurvey: it is such a file; the reason says what to upload instead.
    """
    if beginning.startswith(_OLD_OFFICE):
        raise BadSurvey(_spreadsheet("an Excel workbook (XLS)"))
    if beginning.startswith(_ZIP):
        names = _names_in(source)
        if "[Content_Types].xml" in names:
            raise BadSurvey(_spreadsheet("an Excel workbook (XLSX)"))
        if "content.xml" in names:
            raise BadSurvey(_spreadsheet("an OpenDocument spreadsheet (ODS)"))
        held = f" that holds {', '.join(names[:3])}" if names else ""
        raise BadSurvey(
            f"The file is a ZIP archive{held}: unpack it and upload each file by itself."
        )
    for magic, what in _OTHERS.items():
        if beginning.startswith(magic):
            raise BadSurvey(f"The file is {what}: upload CSV, gzipped CSV, JSON lines or Parquet.")


def _spreadsheet(what: str) -> str:
    return (
        f"The file is {what}: open it, choose the sheet with the fingerprints and save it as CSV "
        "(UTF-8)."
    )


def _names_in(source: Path | bytes) -> list[str]:
    try:
        with zipfile.ZipFile(
            io.BytesIO(source) if isinstance(source, bytes) else source
        ) as archive:
            return archive.namelist()
    except zipfile.BadZipFile:
        return []

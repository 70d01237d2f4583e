"""Faults of single rows, and how many of them a survey may contain.

A fault of the export (a word among numbers, a row cut short) casts doubt on the whole file; a fault
of one measurement (a reading out of range, a misplaced label) says little about the other rows. So
each group has its own threshold, set by the site. A refusal counts the faults by kind and quotes
the first.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from trainer.training.errors import BadSurvey
from trainer.training.reading.site_description import Thresholds


class FaultKind(StrEnum):
    """Why a row is not used."""

    RAGGED = "another number of fields than the header names columns"
    NO_NUMBER = "text where a number belongs"
    OUT_OF_RANGE = "a number that is no RSSI"
    BAD_POINT = "x and y that are no place"
    MISPLACED = "a position that contradicts its label's others"
    LONG_LABEL = "a label too long to be one"
    SILENT = "no beacon heard"


_EXPORT_FAULTS = frozenset({FaultKind.RAGGED, FaultKind.NO_NUMBER})


@dataclass(frozen=True, slots=True)
class RowFault:
    """One row that is not used."""

    line: int
    """The line of the file, from 1, on which the row begins."""
    kind: FaultKind
    reason: str
    """A sentence that names the line, the column and the remedy."""
    lines: int = 1
    """Number of lines of the row; an open quotation mark can take in many."""


def count_by_kind(faults: Sequence[RowFault]) -> dict[FaultKind, int]:
    """Number of rows with each kind of fault, in the order of :class:`FaultKind`."""
    counted = Counter(fault.kind for fault in faults)
    return {kind: counted[kind] for kind in FaultKind if counted[kind]}


def check_share(faults: Sequence[RowFault], rows: int, thresholds: Thresholds) -> None:
    """Refuse a survey with more bad rows than its site allows.

    Args:
        faults: of the rows that are not used.
        rows: number of all rows of the file.
        thresholds: the site's.

    Raises:
        BadSurvey: too many rows are bad; the reason counts them and quotes the first.
    """
    groups: Mapping[str, tuple[list[RowFault], float]] = {
        "broken by the export": (
            [fault for fault in faults if fault.kind in _EXPORT_FAULTS],
            thresholds.malformed_rows,
        ),
        "without any beacon": (
            [fault for fault in faults if fault.kind is FaultKind.SILENT],
            thresholds.silent_rows,
        ),
        "no measurement": (
            [
                fault
                for fault in faults
                if fault.kind not in _EXPORT_FAULTS and fault.kind is not FaultKind.SILENT
            ],
            thresholds.implausible_rows,
        ),
    }
    for group, (found, limit) in groups.items():
        bad = sum(fault.lines for fault in found)
        if bad > limit * max(rows, bad):
            raise BadSurvey(_reason(found, bad, max(rows, bad), group, limit))


def _reason(found: Sequence[RowFault], bad: int, rows: int, group: str, limit: float) -> str:
    first = found[0].reason
    if bad == 1:
        return f"{first} One row of {rows} is {group}; the site allows {limit:.1%}."
    kinds = ", ".join(f"{count} with {kind.value}" for kind, count in count_by_kind(found).items())
    return f"{first} {bad} of {rows} rows are {group} ({kinds}); the site allows {limit:.1%}."

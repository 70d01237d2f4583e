"""What may be wrong with one row of a survey, and how much of it a survey may hold.

A fault of the export (a word among numbers, a row cut short) casts doubt on the whole file, since
nobody knows what else it broke; a fault of one measurement (a reading out of range, a label far
from its place) says little about its neighbours. So the two have thresholds of their own, per site.
What may go wrong: a survey that is bad through and through, told as a thousand bad rows; they are
counted by kind, and the first is quoted.
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


_OF_THE_EXPORT = frozenset({FaultKind.RAGGED, FaultKind.NO_NUMBER})


@dataclass(frozen=True, slots=True)
class RowFault:
    """One row that is not used."""

    line: int
    """Of the file, from 1, where the row begins."""
    kind: FaultKind
    reason: str
    """A sentence that names the line, the column and what would be right."""
    lines: int = 1
    """How many lines the row takes; an open quotation mark can swallow many."""


def count_by_kind(faults: Sequence[RowFault]) -> dict[FaultKind, int]:
    """How many rows each kind of fault cost, in the order of :class:`FaultKind`."""
    counted = Counter(fault.kind for fault in faults)
    return {kind: counted[kind] for kind in FaultKind if counted[kind]}


def check_share(faults: Sequence[RowFault], rows: int, thresholds: Thresholds) -> None:
    """Refuse a survey with more bad rows than its site allows.

    Args:
        faults: of the rows that are not used.
        rows: how many rows the file has in all.
        thresholds: the site's.

    Raises:
        BadSurvey: too many rows are bad; the reason counts them and quotes the first.
    """
    groups: Mapping[str, tuple[list[RowFault], float]] = {
        "broken by the export": (
            [fault for fault in faults if fault.kind in _OF_THE_EXPORT],
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
                if fault.kind not in _OF_THE_EXPORT and fault.kind is not FaultKind.SILENT
            ],
            thresholds.implausible_rows,
        ),
    }
    for what, (found, most) in groups.items():
        bad = sum(fault.lines for fault in found)
        if bad > most * max(rows, bad):
            raise BadSurvey(_reason(found, bad, max(rows, bad), what, most))


def _reason(found: Sequence[RowFault], bad: int, rows: int, what: str, most: float) -> str:
    first = found[0].reason
    if bad == 1:
        return f"{first} One row of {rows} is {what}, and {most:.1%} is the most here."
    kinds = ", ".join(f"{count} with {kind.value}" for kind, count in count_by_kind(found).items())
    return f"{first} {bad} of {rows} rows are {what} ({kinds}), and {most:.1%} is the most here."

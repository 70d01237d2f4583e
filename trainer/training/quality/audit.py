"""Looks a training set over: copies, visits, sentinels, beacons, labels, drift, cells without data.

Each finding says what was seen, what it means and what was done about it. What may go wrong:
warnings nobody can act on. A finding is a warning only if a person should look; the rest are notes.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from trainer.localization.readings import NOT_HEARD_BELOW, FloatMatrix
from trainer.training.quality.drift import Drift, Eras, beacon_drifts, eras_of
from trainer.training.quality.near_duplicates import (
    CopiedBlock,
    NearDuplicates,
    find_near_duplicates,
)
from trainer.training.reading.missing_values import LOWEST_GAP_DB, LOWEST_SIGNAL, mask_sentinel
from trainer.training.reading.row_faults import FaultKind, count_by_kind
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey
from trainer.training.reading.training_set import TrainingSet

DEAD_SHARE = 0.001
"""A beacon heard in a smaller share of rows than this is as good as off."""
STUCK_ROWS = 30
"""Fewer equal readings may be chance; each of the UCI set's beacons takes 13 values or more."""
FEW_ROWS = 5
"""A cell with fewer rows can't be both learnt and measured."""
NEAR_SENTINEL = 3.0
LOWEST_SHARE = 0.05
_DELIMITER_NAMES = {",": "commas", ";": "semicolons", "\t": "tabs"}


class Severity(StrEnum):
    """Whether somebody should look."""

    NOTE = "note"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found."""

    topic: str
    weight: Severity
    seen: str
    means: str
    done: str


@dataclass(frozen=True, slots=True)
class BeaconAudit:
    """What one beacon looks like over all rows; dBm."""

    name: str
    heard_share: float
    median_dbm: float | None
    lowest_dbm: float | None
    highest_dbm: float | None
    distinct: int
    """How many different readings it gave."""
    drift: float | None = None
    """Kolmogorov-Smirnov distance of its readings between the two sets, 0 to 1, where both were
    taken at the same locations in the same shares; None if not compared."""


@dataclass(frozen=True, slots=True)
class Audit:
    """A training set, looked over."""

    rows: int
    cells: int
    unlabelled_rows: int
    dropped: tuple[tuple[str, int], ...]
    """Why rows were dropped, and how many."""
    visits: int
    median_visit_rows: float
    copied_pairs: int
    copied_blocks: tuple[CopiedBlock, ...]
    exact_copies: int
    label_shares: tuple[float, float, float]
    """The smallest, median and largest share of the rows that one cell has."""
    empty_cells: tuple[str, ...]
    """Cells that the site describes and no row is from."""
    drift_between: str
    """Which two sets of surveys the beacons' drift is measured between, or why it is not."""
    beacons: tuple[BeaconAudit, ...]
    findings: tuple[Finding, ...]


def audit(
    data: TrainingSet,
    surveys: Sequence[Survey],
    site: SiteDescription,
    copies: NearDuplicates | None = None,
    known_to_champion: Sequence[bool] = (),
) -> Audit:
    """Look a training set over.

    Args:
        data: the surveys combined.
        surveys: the same, one by one, with what reading them found; the last is the newest.
        site: where they were taken.
        copies: of :func:`find_near_duplicates`, if it was called already.
        known_to_champion: for each survey, whether the champion learnt from it. What it did not
            learn from is compared with what it did; without a champion the newest survey with
            the others.
    """
    surveys = mask_sentinel(surveys, site)
    found = copies or find_near_duplicates(data)
    eras = eras_of([len(survey.labels) for survey in surveys], known_to_champion)
    drifts = beacon_drifts(data, eras)
    beacons = tuple(
        _beacon(name, column, drift)
        for name, column, drift in zip(data.beacons, data.rssi.T, drifts, strict=True)
    )
    sizes = np.bincount(data.cells, minlength=len(data.labels)) / max(len(data), 1)
    lengths = np.bincount(data.visits - data.visits.min()) if len(data) else np.zeros(1)
    described = set(site.positions) - set(data.labels)
    report = Audit(
        rows=len(data),
        cells=len(data.labels),
        unlabelled_rows=sum(survey.ignored_rows for survey in surveys),
        dropped=tuple((kind.value, rows) for kind, rows in _dropped(surveys).items()),
        visits=int((lengths > 0).sum()),
        median_visit_rows=float(np.median(lengths[lengths > 0])) if lengths.any() else 0.0,
        copied_pairs=len(found.pairs),
        copied_blocks=found.blocks,
        exact_copies=found.exact_rows,
        label_shares=(float(sizes.min()), float(np.median(sizes)), float(sizes.max())),
        empty_cells=tuple(sorted(described)),
        drift_between=eras.said,
        beacons=beacons,
        findings=(),
    )
    findings = (
        *_on_copies(report, found),
        *_on_visits(report),
        *_on_writing(surveys),
        *_on_sentinels(surveys),
        *_on_filler(data, surveys),
        *_on_lowest(data),
        *_on_beacons(beacons, len(data)),
        *_on_drift(beacons, drifts, eras),
        *_on_labels(data, report),
        *_on_dropped(report),
    )
    return _with(report, tuple(findings))


def _with(report: Audit, findings: tuple[Finding, ...]) -> Audit:
    values = {name: getattr(report, name) for name in Audit.__slots__ if name != "findings"}
    return Audit(**values, findings=findings)


def _dropped(surveys: Sequence[Survey]) -> Mapping[FaultKind, int]:
    return count_by_kind([fault for survey in surveys for fault in survey.faults])


def _beacon(name: str, column: FloatMatrix, drift: Drift | None) -> BeaconAudit:
    heard = column[~np.isnan(column)]
    return BeaconAudit(
        name=name,
        heard_share=len(heard) / max(len(column), 1),
        median_dbm=float(np.median(heard)) if len(heard) else None,
        lowest_dbm=float(heard.min()) if len(heard) else None,
        highest_dbm=float(heard.max()) if len(heard) else None,
        distinct=len(np.unique(heard)),
        drift=None if drift is None else drift.distance,
    )


def _on_copies(report: Audit, copies: NearDuplicates) -> list[Finding]:
    left_out = (
        f" {copies.left_out_rows} rows were not searched for near copies: what they hear is too "
        "usual to tell a copy from chance, or too many rows are like them."
        if copies.left_out_rows
        else ""
    )
    if not report.copied_pairs:
        return [
            Finding(
                "copies",
                Severity.NOTE,
                f"No block of copied rows; {report.exact_copies} single rows repeat another "
                f"visit's exactly.{left_out}",
                "Single repeats are chance where a location hears one steady beacon.",
                "Exact repeats are kept on one side of the hold-out.",
            )
        ]
    orders = ", ".join(
        f"{sum(block.rows for block in report.copied_blocks if block.order is order)} rows {order}"
        for order in sorted({block.order for block in report.copied_blocks})
    )
    return [
        Finding(
            "copies",
            Severity.WARNING,
            f"{report.copied_pairs} rows are copies of other rows within 2 dB, in "
            f"{len(report.copied_blocks)} blocks ({orders}).{left_out}",
            "A part of the data was pasted in again, perhaps altered a little. It tells nothing "
            "new, and a random split would put a row in training and its copy in the test.",
            "A row and its copy stay on one side of the hold-out. To be rid of them, remove the "
            "copied rows from the survey and upload it anew.",
        )
    ]


def _on_visits(report: Audit) -> list[Finding]:
    return [
        Finding(
            "visits",
            Severity.NOTE,
            f"{report.visits} visits, half of them of {report.median_visit_rows:g} rows or fewer.",
            "Rows of one visit are alike; a model that has seen one of them knows the others.",
            "A visit stays whole on one side of the hold-out.",
        )
    ]


def _on_writing(surveys: Sequence[Survey]) -> list[Finding]:
    formats = [survey.file_format for survey in surveys]
    written = Counter(
        f"{file.encoding}, columns parted by {_DELIMITER_NAMES[file.delimiter]}, "
        + (f"times as {file.time_format}" if file.time_format else "no times")
        for file in formats
    )
    ways = "; ".join(
        way if times == len(surveys) else f"{way} ({times} of {len(surveys)} surveys)"
        for way, times in written.most_common()
    )
    return [
        Finding(
            "how it is written",
            Severity.NOTE,
            f"{ways}.",
            "Found by looking; nobody has to say so.",
            "Times tell visits apart and are never learnt from.",
        )
    ]


def _on_filler(data: TrainingSet, surveys: Sequence[Survey]) -> list[Finding]:
    """A number that was found to stand for "not heard"."""
    if data.not_heard_below == NOT_HEARD_BELOW:
        return []
    word = f"{data.not_heard_below - LOWEST_GAP_DB / 2:g}"
    times = sum(dict(survey.file_format.not_heard).get(word, 0) for survey in surveys)
    readings = times + int(np.count_nonzero(~np.isnan(data.rssi)))
    return [
        Finding(
            "a number for not heard",
            Severity.NOTE,
            f"{word} dBm, {times} times ({times / readings:.0%} of what would be readings), and "
            f"nothing within {LOWEST_GAP_DB:g} dB above it.",
            "That is no signal, but this site's way to write that a beacon was not heard.",
            f"It counts as not heard, here and in what the model is asked: all below "
            f"{data.not_heard_below:g} dBm.",
        )
    ]


def _on_lowest(data: TrainingSet) -> list[Finding]:
    """What may be a number for "not heard", but too seldom to be sure (fillers)."""
    heard = data.rssi[~np.isnan(data.rssi)]
    if not len(heard) or heard.min() > LOWEST_SIGNAL:
        return []
    lowest = float(heard.min())
    times, others = int((heard == lowest).sum()), heard[heard > lowest]
    lies_apart = not len(others) or float(others.min()) - lowest >= LOWEST_GAP_DB
    if times < LOWEST_SHARE * len(heard) or not lies_apart:
        return []
    return [
        Finding(
            "a lowest reading apart",
            Severity.WARNING,
            f"{lowest:g} dBm, {times} times ({times / len(heard):.0%} of the readings), and "
            f"nothing within {LOWEST_GAP_DB:g} dB above it.",
            "That is no signal, but a way to write that a beacon was not heard.",
            "It is used as it stands. Write such readings as blank or -200 and upload anew.",
        )
    ]


def _on_sentinels(surveys: Sequence[Survey]) -> list[Finding]:
    written: Counter[str] = Counter()
    for survey in surveys:
        written.update(dict(survey.file_format.not_heard))
    odd = {
        word: times
        for word, times in written.items()
        if word != "blank" and 0 < float(word) + 200.0 <= NEAR_SENTINEL
    }
    ways = ", ".join(f"{word} ({times} times)" for word, times in written.most_common())
    findings = []
    if written:
        findings.append(
            Finding(
                "not heard",
                Severity.NOTE,
                f"Written as {ways}.",
                "A beacon that was not heard is no weak signal.",
                "All of these count as not heard.",
            )
        )
    if odd:
        listed = ", ".join(f"{word} ({times} times)" for word, times in odd.items())
        findings.append(
            Finding(
                "off-by-one sentinels",
                Severity.WARNING,
                f"{listed} where -200 is meant.",
                "Something added to the readings after they were logged; signals may be shifted by "
                "the same amount.",
                "They count as not heard. Look at how the file was made.",
            )
        )
    return findings


def _on_beacons(beacons: Sequence[BeaconAudit], rows: int) -> list[Finding]:
    dead = [beacon.name for beacon in beacons if beacon.heard_share < DEAD_SHARE]
    stuck = [
        beacon.name
        for beacon in beacons
        if beacon.distinct == 1 and beacon.heard_share * rows >= STUCK_ROWS
    ]
    findings = []
    if dead:
        findings.append(
            Finding(
                "dead beacons",
                Severity.WARNING,
                f"{', '.join(dead)}: heard in less than {DEAD_SHARE:.1%} of the rows.",
                "It is off, gone, or called otherwise.",
                "Such a column teaches nothing and changes nothing in the model.",
            )
        )
    if stuck:
        findings.append(
            Finding(
                "stuck beacons",
                Severity.WARNING,
                f"{', '.join(stuck)}: always the same reading.",
                "No radio is that steady: the value is made up on the way.",
                "It is used as it stands. Check the logger.",
            )
        )
    return findings


def _on_drift(
    beacons: Sequence[BeaconAudit], drifts: Sequence[Drift | None], eras: Eras
) -> list[Finding]:
    compared = [
        (beacon, drift) for beacon, drift in zip(beacons, drifts, strict=True) if drift is not None
    ]
    drifted = [(beacon.name, drift) for beacon, drift in compared if drift.is_notable]
    if not eras.compared or not compared:
        return [
            Finding(
                "drift",
                Severity.NOTE,
                "Not measured. " + (eras.said if not eras.compared else _TOO_LITTLE),
                "Whether beacons changed since then is not known.",
                "Nothing.",
            )
        ]
    if not drifted:
        return [
            Finding(
                "drift",
                Severity.NOTE,
                f"{eras.said} None of {len(compared)} beacons is distributed otherwise.",
                "What was learnt from the earlier surveys still holds.",
                "All surveys are used.",
            )
        ]
    listed = ", ".join(f"{name} ({drift.distance:.2f})" for name, drift in drifted)
    fair = all(drift.same_places for _, drift in drifted)
    return [
        Finding(
            "drift",
            Severity.WARNING,
            f"{listed}: distributed otherwise (Kolmogorov-Smirnov distance). {eras.said}",
            "The beacon was moved, turned, changed its power or its battery is low"
            + ("." if fair else "; or the surveys cover other places: too few are in both."),
            "All surveys are used. If a beacon was moved, survey its neighbourhood again and "
            "take the old surveys away.",
        )
    ]


_TOO_LITTLE = "Too few readings of each beacon are in both sets of surveys."


def _on_labels(data: TrainingSet, report: Audit) -> list[Finding]:
    sizes = np.bincount(data.cells, minlength=len(data.labels))
    few = [label for label, size in zip(data.labels, sizes, strict=True) if size < FEW_ROWS]
    findings = []
    if few:
        named = ", ".join(few[:10]) + (f" and {len(few) - 10} more" if len(few) > 10 else "")
        findings.append(
            Finding(
                "thin locations",
                Severity.NOTE,
                f"{len(few)} of {len(data.labels)} locations have fewer than {FEW_ROWS} rows: "
                f"{named}.",
                "They are hardly learnt and hardly measured.",
                "They are used. Visit them again, another day.",
            )
        )
    if report.empty_cells:
        findings.append(
            Finding(
                "locations without data",
                Severity.WARNING,
                f"{len(report.empty_cells)} described locations have no row: "
                f"{', '.join(report.empty_cells[:10])}.",
                "The model can't answer them.",
                "Survey them.",
            )
        )
    return findings


def _on_dropped(report: Audit) -> list[Finding]:
    if not report.dropped:
        return []
    kinds = ", ".join(f"{rows} with {kind}" for kind, rows in report.dropped)
    return [
        Finding(
            "dropped rows",
            Severity.WARNING,
            f"{sum(rows for _, rows in report.dropped)} rows are not used: {kinds}.",
            "They are no measurement that could be learnt from.",
            "They were left out and are listed by `rssi audit`; the rest of their surveys is used.",
        )
    ]

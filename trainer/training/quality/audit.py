"""Audits a training set: duplicates, visits, sentinels, beacons, locations, drift."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.training.quality.beacon_findings import (
    BeaconAudit,
    audit_beacon,
    on_beacons,
    on_drift,
)
from trainer.training.quality.chains import CopiedBlock
from trainer.training.quality.drift import beacon_drifts, choose_windows
from trainer.training.quality.findings import Finding
from trainer.training.quality.near_duplicates import NearDuplicates
from trainer.training.quality.row_findings import on_duplicates, on_locations, on_visits
from trainer.training.quality.survey_findings import (
    on_dropped_rows,
    on_file_formats,
    on_lowest_reading,
    on_masked_sentinel,
    on_scattered_points,
    on_sentinels,
)
from trainer.training.reading.row_faults import count_by_kind
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey
from trainer.training.reading.training_set import TrainingSet


@dataclass(frozen=True, slots=True)
class Audit:
    """A training set in figures and findings; the fields' names are keys of ``metrics.json``."""

    rows: int
    cells: int
    unlabelled_rows: int
    dropped: tuple[tuple[str, int], ...]
    """Kinds of faults for which rows were dropped, each with its number of rows."""
    visits: int
    median_visit_rows: float
    copied_pairs: int
    copied_blocks: tuple[CopiedBlock, ...]
    exact_copies: int
    label_shares: tuple[float, float, float]
    """Smallest, median and largest share of the rows in one cell."""
    empty_cells: tuple[str, ...]
    """Cells that the site describes and that have no rows."""
    drift_between: str
    """The two sets of surveys between which drift is measured, or why it is not."""
    beacons: tuple[BeaconAudit, ...]
    findings: tuple[Finding, ...]


def audit(
    data: TrainingSet,
    surveys: Sequence[Survey],
    site: SiteDescription,
    copies: NearDuplicates,
    known_to_champion: Sequence[bool] = (),
) -> Audit:
    """Audit a training set.

    Args:
        data: the surveys combined.
        surveys: the same, one by one, as :func:`mask_sentinel` returned them; the last is the
            newest.
        site: where they were taken.
        copies: what :func:`find_near_duplicates` found among the rows.
        known_to_champion: for each survey, whether the champion learnt from it. What it did not
            learn from is compared with what it did; without a champion the newest survey with
            the others.
    """
    windows = choose_windows([len(survey.labels) for survey in surveys], known_to_champion)
    drifts = beacon_drifts(data, windows)
    beacons = tuple(
        audit_beacon(name, column, drift)
        for name, column, drift in zip(data.beacons, data.rssi.T, drifts, strict=True)
    )
    sizes = np.bincount(data.cells, minlength=len(data.labels)) / max(len(data), 1)
    lengths = np.bincount(data.visits - data.visits.min()) if len(data) else np.zeros(1)
    visits = int((lengths > 0).sum())
    median_visit_rows = float(np.median(lengths[lengths > 0])) if visits else 0.0
    empty_cells = tuple(sorted(set(site.positions) - set(data.labels)))
    faults = count_by_kind([fault for survey in surveys for fault in survey.faults])
    dropped = {kind.value: rows for kind, rows in faults.items()}
    return Audit(
        rows=len(data),
        cells=len(data.labels),
        unlabelled_rows=sum(survey.ignored_rows for survey in surveys),
        dropped=tuple(dropped.items()),
        visits=visits,
        median_visit_rows=median_visit_rows,
        copied_pairs=len(copies.pairs),
        copied_blocks=copies.blocks,
        exact_copies=copies.exact_rows,
        label_shares=(float(sizes.min()), float(np.median(sizes)), float(sizes.max())),
        empty_cells=empty_cells,
        drift_between=windows.description,
        beacons=beacons,
        findings=(
            *on_duplicates(copies),
            *on_visits(visits, median_visit_rows),
            *on_file_formats(surveys),
            *on_scattered_points(data),
            *on_sentinels(surveys),
            *on_masked_sentinel(data, surveys),
            *on_lowest_reading(data),
            *on_beacons(beacons, len(data)),
            *on_drift(data.beacons, drifts, windows),
            *on_locations(data, empty_cells),
            *on_dropped_rows(dropped),
        ),
    )

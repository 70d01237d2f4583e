"""Findings on beacons: silent ones, stuck ones, and those that drifted."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from trainer.localization.readings import FloatMatrix
from trainer.training.quality.drift import Drift, DriftWindows
from trainer.training.quality.findings import Finding, Severity

DEAD_SHARE = 0.001
"""A beacon heard in a smaller share of rows is as good as off."""
STUCK_ROWS = 30
"""Fewer equal readings may be coincidence; each of the UCI set's beacons has 13 values or more."""


@dataclass(frozen=True, slots=True)
class BeaconAudit:
    """One beacon's readings in all rows; dBm. The fields' names are keys of ``metrics.json``."""

    name: str
    heard_share: float
    median_dbm: float | None
    lowest_dbm: float | None
    highest_dbm: float | None
    distinct: int
    """Number of different readings."""
    drift: float | None = None
    """Kolmogorov-Smirnov distance of its readings between the two windows, 0 to 1, with equal
    shares of locations; None if not compared."""


def audit_beacon(name: str, column: FloatMatrix, drift: Drift | None) -> BeaconAudit:
    """Summarize one beacon's readings.

    Args:
        name: of the beacon.
        column: (rows,) in dBm, NaN where not heard.
        drift: None if not compared.
    """
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


def on_beacons(beacons: Sequence[BeaconAudit], rows: int) -> list[Finding]:
    """Beacons that are hardly heard or never vary."""
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
                "It is off, gone or renamed.",
                "Such a column carries no information and does not affect the model.",
            )
        )
    if stuck:
        findings.append(
            Finding(
                "stuck beacons",
                Severity.WARNING,
                f"{', '.join(stuck)}: always the same reading.",
                "No radio is that steady: something replaces the readings.",
                "It is used unchanged. Check the logger.",
            )
        )
    return findings


_TOO_LITTLE = "Too few readings of each beacon are in both sets of surveys."


def on_drift(
    names: Sequence[str], drifts: Sequence[Drift | None], windows: DriftWindows
) -> list[Finding]:
    """Beacons whose readings changed, or why that is not known."""
    compared = [
        (name, drift) for name, drift in zip(names, drifts, strict=True) if drift is not None
    ]
    drifted = [(name, drift) for name, drift in compared if drift.is_notable]
    if not windows.are_comparable or not compared:
        return [
            Finding(
                "drift",
                Severity.NOTE,
                "Not measured. "
                + (windows.description if not windows.are_comparable else _TOO_LITTLE),
                "It is unknown whether beacons changed.",
                "Nothing.",
            )
        ]
    if not drifted:
        return [
            Finding(
                "drift",
                Severity.NOTE,
                f"{windows.description} None of {len(compared)} beacons changed its distribution.",
                "The earlier surveys still describe the site.",
                "All surveys are used.",
            )
        ]
    listed = ", ".join(f"{name} ({drift.distance:.2f})" for name, drift in drifted)
    fair = all(drift.at_common_locations for _, drift in drifted)
    return [
        Finding(
            "drift",
            Severity.WARNING,
            f"{listed}: the distribution changed (Kolmogorov-Smirnov distance). "
            f"{windows.description}",
            "The beacon was moved or turned, its power changed or its battery is low"
            + ("." if fair else "; or the surveys cover different places: too few are in both."),
            "All surveys are used. If a beacon was moved, survey its neighbourhood again and "
            "remove the old surveys.",
        )
    ]

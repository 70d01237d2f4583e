"""Findings on the rows of a training set: duplicates, visits, locations."""

from collections.abc import Sequence

import numpy as np

from trainer.training.quality.findings import Finding, Severity
from trainer.training.quality.near_duplicates import NearDuplicates
from trainer.training.reading.training_set import TrainingSet

FEW_ROWS = 5
"""A cell with fewer rows can be neither learnt nor measured well."""


def on_duplicates(copies: NearDuplicates) -> list[Finding]:
    """Blocks of near-duplicates, or their absence."""
    unsearched = (
        f" {copies.unsearched_rows} rows were not searched for near copies: what they hear is too "
        "common to tell a copy from coincidence, or too many rows are like them."
        if copies.unsearched_rows
        else ""
    )
    if not len(copies.pairs):
        return [
            Finding(
                "copies",
                Severity.NOTE,
                f"No block of copied rows; {copies.exact_rows} single rows repeat another "
                f"visit's exactly.{unsearched}",
                "Single repeats are coincidence where a location hears one steady beacon.",
                "Exact repeats are kept on one side of the hold-out.",
            )
        ]
    orders = ", ".join(
        f"{sum(block.rows for block in copies.blocks if block.order is order)} rows {order}"
        for order in sorted({block.order for block in copies.blocks})
    )
    return [
        Finding(
            "copies",
            Severity.WARNING,
            f"{len(copies.pairs)} rows are copies of other rows within 2 dB, in "
            f"{len(copies.blocks)} blocks ({orders}).{unsearched}",
            "A part of the data was pasted in again, perhaps slightly altered. It adds no "
            "information, and a random split would put a row in training and its copy in the test.",
            "A row and its copy stay on one side of the hold-out. To get rid of them, remove "
            "the copied rows from the survey and upload it again.",
        )
    ]


def on_visits(visits: int, median_rows: float) -> list[Finding]:
    """The number of visits and their usual length."""
    return [
        Finding(
            "visits",
            Severity.NOTE,
            f"{visits} visits, half of them of {median_rows:g} rows or fewer.",
            "Rows of one visit are alike; a model that has seen one of them knows the others.",
            "A visit stays whole on one side of the hold-out.",
        )
    ]


def on_locations(data: TrainingSet, empty_cells: Sequence[str]) -> list[Finding]:
    """Locations with few rows or none."""
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
                "The model learns them badly, and its error there is hardly measured.",
                "They are used. Survey them again on another day.",
            )
        )
    if empty_cells:
        findings.append(
            Finding(
                "locations without data",
                Severity.WARNING,
                f"{len(empty_cells)} described locations have no row: "
                f"{', '.join(empty_cells[:10])}.",
                "The model can never answer with them.",
                "Survey them.",
            )
        )
    return findings

"""Trainings as they were recorded: a run's name to the letter, its figures but for rounding."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.training.made_up_floor import HALL, QUICK, survey_lines, survey_text
from trainer.training.job.pipeline import METRICS_FILE
from trainer.training.job.train import train_files

# Recorded in November 2026. A run id must never change for the same data and settings: releases
# are named by it. Figures may differ in the last bits on other processors.
RECORDED: dict[int, tuple[str, dict[str, float]]] = {
    3: (
        "hall-7a8b428e47cb",
        {
            "rows": 216,
            "trained_rows": 174,
            "held_out_rows": 42,
            "exact_accuracy": 0.9286,
            "within_one_cell": 1.0,
            "mean_error_m": 0.4275,
            "p90_error_m": 0.9488,
            "radius.radius.scale": 0.8346,
            "radius.coverage": 0.9524,
            "calibration.expected_error": 0.4584,
            "baselines.0.exact_accuracy": 0.9048,
            "baselines.0.mean_error_m": 0.3153,
            "baselines.1.exact_accuracy": 0.9286,
            "baselines.1.mean_error_m": 0.4581,
            "baselines.2.exact_accuracy": 0.0,
            "baselines.2.mean_error_m": 6.5066,
        },
    ),
    6: (
        "hall-ddcff0ad2eb5",
        {
            "mean_error_m": 0.3951,
            "confidence.temperature": 0.2521,
            "confidence.own_brier": 0.2340,
            "confidence.told_brier": 0.0658,
            "radius.radius.scale": 0.8026,
            "radius.coverage": 0.9048,
            "intervals.exact_accuracy.low": 0.8690,
            "intervals.exact_accuracy.high": 0.9762,
            "intervals.mean_error_m.low": 0.2607,
            "intervals.mean_error_m.high": 0.5452,
            "intervals.p90_error_m.low": 0.8420,
            "intervals.p90_error_m.high": 2.3236,
        },
    ),
}


def figure(document: Any, path: str) -> float:
    """A figure of ``metrics.json`` by the names and places that lead to it."""
    for name in path.split("."):
        document = document[int(name) if name.isdigit() else name]
    return float(document)


@pytest.mark.parametrize("visits", RECORDED)
def test_a_run_is_named_and_measured_as_it_was_recorded(visits: int, tmp_path: Path) -> None:
    survey = tmp_path / "walk.csv"
    survey.write_text(survey_text(survey_lines(visits=visits)))
    run_id, recorded = RECORDED[visits]

    result = train_files([survey], tmp_path / "out", 1, HALL, QUICK)

    document = json.loads((tmp_path / "out" / METRICS_FILE).read_text())
    assert result.release_id == run_id
    assert {path: figure(document, path) for path in recorded} == pytest.approx(
        recorded, rel=5e-3, abs=1e-4
    )

"""The evaluation of a recipe on the held-out rows, which its fit has not seen."""

from dataclasses import dataclass, replace

from trainer.training.evaluation.baselines import baselines
from trainer.training.evaluation.confidence import ConfidenceReport, calibrate_confidence
from trainer.training.evaluation.cross_validation import measure_hold_out
from trainer.training.evaluation.evaluate import (
    CellError,
    Confusion,
    Evaluation,
    RowScores,
    cell_errors,
    confusions,
    summarize,
    with_intervals,
)
from trainer.training.evaluation.hold_out import HoldOut
from trainer.training.evaluation.reliability import RadiusReport, fit_radius
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet


@dataclass(frozen=True, slots=True, eq=False)
class HoldOutEvaluation:
    """What a fit without the held-out rows answered to them."""

    scores: RowScores
    evaluation: Evaluation
    cells: tuple[CellError, ...]
    confusions: tuple[Confusion, ...]
    radius: RadiusReport | None
    confidence: ConfidenceReport | None


def evaluate_hold_out(
    rows: TrainingSet, split: HoldOut, site: SiteDescription, hyperparameters: Hyperparameters
) -> HoldOutEvaluation:
    """Fit without the held-out rows and score the answers to them."""
    measured = measure_hold_out(rows, split.trained, split.held_out, site, hyperparameters)
    scores, expected, sampled = measured.scores, measured.expected_m, measured.sampled
    truth, visits = rows.cells[split.held_out], rows.visits[split.held_out]
    confidence = calibrate_confidence(measured.posteriors, scores.exact[sampled], visits[sampled])
    evaluation = with_intervals(summarize(scores), scores, visits)
    return HoldOutEvaluation(
        scores=scores,
        evaluation=replace(
            evaluation,
            calibration=confidence.told if confidence else evaluation.calibration,
            baselines=baselines(rows, split.trained, split.held_out),
        ),
        cells=tuple(cell_errors(rows, truth, scores)),
        confusions=tuple(confusions(rows, truth, scores)),
        radius=None
        if expected is None or scores.errors_m is None
        else fit_radius(expected, scores.errors_m, visits),
        confidence=confidence,
    )

"""The evaluation of a recipe on the held-out rows, which its fit has not seen."""

from dataclasses import dataclass, replace

import numpy as np

from trainer.localization.decoding import decode, expected_errors
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network
from trainer.localization.readings import FloatMatrix
from trainer.training.evaluation.baselines import baselines
from trainer.training.evaluation.confidence import ConfidenceReport, calibrate_confidence
from trainer.training.evaluation.evaluate import (
    CellError,
    Confusion,
    Evaluation,
    cell_errors,
    confusions,
    summarize,
    with_intervals,
)
from trainer.training.evaluation.hold_out import HoldOut, Rows
from trainer.training.evaluation.reliability import RadiusReport, fit_radius
from trainer.training.evaluation.scores import (
    Errors,
    RowScores,
    StoreyHits,
    blocks_of,
    concatenate_scores,
    score_predictions,
    with_floors,
)
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.model_family import MODEL_FAMILY
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet

_MAX_SAMPLED, _MAX_SAMPLED_NUMBERS = 10_000, 2**22
"""Shares of as many rows are known to within a point (binomial, 95 %); with very many cells fewer
posteriors are kept, to bound memory and time."""


@dataclass(frozen=True, slots=True, eq=False)
class HoldOutMeasurement:
    """How a fit answered rows that it has not seen."""

    scores: RowScores
    expected_m: Errors | None
    """(rows,) the error in metres that the model itself expected; None without positions."""
    sampled: Rows
    """Indices into the rows, evenly spread; all of them up to 10,000."""
    posteriors: FloatMatrix
    """(sampled, cells) the network's probabilities, for the sample only, to bound the memory."""


def measure_hold_out(
    data: TrainingSet,
    trained: Rows,
    held_out: Rows,
    site: SiteDescription,
    settings: Hyperparameters,
) -> HoldOutMeasurement:
    """Fit on some rows and score the answers to others."""
    return fit_and_measure(data.take(trained), data.take(held_out), site, settings)


def fit_and_measure(
    training: TrainingSet, test: TrainingSet, site: SiteDescription, settings: Hyperparameters
) -> HoldOutMeasurement:
    """Fit on one set of rows and score another of the same cells and beacons."""
    network = MODEL_FAMILY.fit(training, FeatureParameters(), settings)
    cells = len(test.labels)
    most = max(1, min(_MAX_SAMPLED, _MAX_SAMPLED_NUMBERS // cells))
    every = max(1, -(-len(test) // most))
    blocks = blocks_of(len(test), cells)
    measured = [_measure(network, test, block, site, every) for block in blocks]
    expected = [part.expected_m for part in measured if part.expected_m is not None]
    return HoldOutMeasurement(
        scores=concatenate_scores([part.scores for part in measured]),
        expected_m=np.concatenate(expected) if expected else None,
        sampled=np.concatenate([part.sampled for part in measured]),
        posteriors=np.concatenate([part.posteriors for part in measured]),
    )


def _measure(
    network: Network, test: TrainingSet, block: slice, site: SiteDescription, every: int
) -> HoldOutMeasurement:
    """The answers to a block of rows; the whole posterior is kept of one in ``every``."""
    posterior = MODEL_FAMILY.probabilities(network, test.rssi[block], FeatureParameters())
    predictions = decode(posterior, test.positions)
    cells, places, expected = test.cells[block], test.places_of(block), None
    if test.positions is not None and predictions.points is not None:
        expected = expected_errors(posterior, predictions.points, test.positions)
    scores = score_predictions(predictions, test.spots, cells, places, test.cell_size_m(site))
    if test.storeys is not None:
        scores = with_floors(scores, StoreyHits(test.storeys, test.storeys), cells)
    sampled = np.arange(block.start + -block.start % every, block.stop, every)
    return HoldOutMeasurement(scores, expected, sampled, posterior[sampled - block.start])


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

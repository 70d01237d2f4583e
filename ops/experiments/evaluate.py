"""Measures a bundle, or the recipe, on files of labelled fingerprints."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ops.errors import UsageError
from ops.experiments.inputs import check_exists, trainer_errors
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription

if TYPE_CHECKING:
    from trainer.training.evaluation.cross_validation import RecipeMeasurement
    from trainer.training.evaluation.evaluate import Evaluation

SEEDS = range(5)
"""Fixed, so that no seed is chosen by its result."""
DEFAULT_FOLDS = 5


def evaluate_model(model: Path, data: Sequence[Path], site: SiteDescription) -> "Evaluation":
    """Measure a bundle.

    Raises:
        OpsError: the bundle or the data can't be used.
    """
    from trainer.training.evaluation.evaluate import evaluate_bundle

    with trainer_errors():
        check_exists(model)
        return evaluate_bundle(model, data, site)


def evaluate_recipe(
    data: Sequence[Path],
    site: SiteDescription,
    settings: Hyperparameters | None,
    split: Path | None,
    folds: int | None,
) -> "list[RecipeMeasurement]":
    """Measure the recipe on a file of splits or on folds, over :data:`SEEDS`.

    Raises:
        OpsError: the data or the splits can't be used.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from trainer.training.evaluation.cross_validation import measure_folds, measure_splits

    if len(data) != 1:
        raise UsageError("Splits and folds count the rows of one file: give one --data.")
    settings = settings or Hyperparameters()
    with trainer_errors():
        if split is not None:
            return measure_splits(data[0], split, site, settings, SEEDS)
        return [measure_folds(data[0], folds or DEFAULT_FOLDS, site, settings, SEEDS)]

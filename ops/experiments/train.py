"""Trains a model from files."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ops.experiments.inputs import trainer_errors
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.site_description import SiteDescription

if TYPE_CHECKING:
    from trainer.training.job.pipeline import TrainingResult


def train_bundle(
    data: Sequence[Path],
    out: Path,
    *,
    seed: int,
    site: SiteDescription,
    settings: Hyperparameters | None,
    site_folder: Path | None,
    progress: Callable[[str], None],
) -> "TrainingResult":
    """Train from files into a folder.

    Args:
        data: surveys.
        out: where the release's files go.
        seed: of everything random.
        site: where the surveys were taken.
        settings: the recipe's settings; its defaults if None.
        site_folder: holds the picture of the floor that the site's description names.
        progress: called with each step before it begins.

    Raises:
        OpsError: the data can't be used, or the folder can't be written.
    """
    # One thread is fastest at this size (measured); MXNet reads the variable when it is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from trainer.training.job.train import train_files

    with trainer_errors():
        return train_files(
            data,
            out,
            seed=seed,
            site=site,
            hyperparameters=settings,
            progress=progress,
            site_folder=site_folder,
        )

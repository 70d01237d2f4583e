"""A survey of the made-up floor, and a release trained on it."""

import os
from pathlib import Path

import pytest

from tests.training.made_up_floor import HALL, QUICK, survey_lines, survey_text
from trainer.training.job.pipeline import TrainingResult
from trainer.training.job.train import train_files

# As the processes' entry points do: both libraries read it when they are first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def survey_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A good survey of the made-up floor."""
    path = tmp_path_factory.mktemp("surveys") / "walk.csv"
    path.write_text(survey_text(survey_lines()))
    return path


@pytest.fixture(scope="session")
def trained(survey_file: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainingResult:
    """A release of the made-up floor."""
    return train_files([survey_file], tmp_path_factory.mktemp("out"), 1, HALL, QUICK)

"""What is written about a release: its figures in ``metrics.json``, and its card."""

import json
from pathlib import Path

from events.metrics import FigureUnit, HeadlineQuestion, MetricsDocument
from tests.training.made_up_floor import CELLS, HALL, QUICK, survey_lines, survey_text
from trainer.training.job.train import TrainingResult, train_files


def document_of(result: TrainingResult) -> MetricsDocument:
    text = (result.bundle.parent / "metrics.json").read_text()
    return MetricsDocument.model_validate(json.loads(text, parse_constant=_refuse))


def _refuse(word: str) -> None:
    raise AssertionError(f"{word} is no JSON")


def test_the_headline_is_the_mean_error_with_its_interval_rows_and_question(
    trained: TrainingResult,
) -> None:
    document = document_of(trained)
    headline = document.headline

    assert headline is not None
    assert (headline.value, headline.unit) == (document.mean_error_m, FigureUnit.METRES)
    assert document.intervals is not None
    assert headline.interval == document.intervals.mean_error_m
    assert headline.interval is not None
    assert headline.interval.low < headline.value < headline.interval.high
    assert headline.rows == document.held_out_rows
    assert headline.locations == sum(cell.rows > 0 for cell in document.cells)
    assert headline.question is HeadlineQuestion.UNSEEN_VISITS


def test_without_positions_the_headline_is_the_share_of_exact_answers(tmp_path: Path) -> None:
    survey = tmp_path / "survey.csv"
    survey.write_text(survey_text(survey_lines(visits=1)).replace("A01", "kitchen"))

    document = document_of(train_files([survey], tmp_path / "out", 1, HALL, QUICK))

    assert document.headline is not None
    assert document.headline.unit is FigureUnit.SHARE
    assert document.headline.value == document.exact_accuracy
    assert document.headline.question is HeadlineQuestion.ENDS_OF_SEEN_VISITS
    assert 1 < document.headline.locations < len(CELLS), "14 rows were held out"

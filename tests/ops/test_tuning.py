"""The search for hyperparameters: folds that don't flatter, and a study that can be interrupted."""

import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from ops.cli.main import app
from ops.cli.show_model import print_tuning
from ops.errors import NoStackError, UsageError
from ops.experiments.inputs import read_settings
from ops.experiments.tune import (
    FRESH_SEEDS,
    TuningReport,
    check_writable,
    compare_on_fresh_seeds,
    write_settings,
)
from ops.experiments.tune_processes import FoldPool
from ops.experiments.tune_search import SearchSpace, open_study
from tests.training.made_up_floor import HALL, QUICK, survey_lines, survey_text
from trainer.training.errors import BadSplit
from trainer.training.evaluation.cross_validation import measure_folds
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine
from trainer.training.tuning.folds import CrossValidation, FoldFigures
from trainer.training.tuning.plan import TuningResult, TuningTask

BRIEF = QUICK.model_copy(update={"epochs": 2, "hidden": (8,)})


def rows(lines: list[str] | None = None) -> TrainingSet:
    text = survey_text(lines or survey_lines())
    return combine([read_survey(text.encode(), HALL, name="walk")], HALL)


def result(settings: Hyperparameters, loss: float) -> TuningResult:
    return TuningResult(
        settings=settings, seeds=(0,), rows=10, exact_accuracy=0.5, mean_error_m=loss
    )


class TestTheGround:
    def test_measures_what_evaluating_on_folds_measures(self, survey_file: Path) -> None:
        measured = CrossValidation.of(rows(), HALL, 2, BRIEF.seed).measure(
            TuningTask(settings=BRIEF, seeds=(0, 1))
        )

        evaluated = measure_folds(survey_file, 2, HALL, BRIEF, (0, 1)).mean
        assert measured.rows == evaluated.rows
        assert measured.exact_accuracy == pytest.approx(evaluated.exact_accuracy)
        assert measured.mean_error_m == pytest.approx(evaluated.mean_error_m)

    def test_keeps_copies_and_visits_in_one_fold(self) -> None:
        lines = survey_lines()
        data = rows([*lines, *lines[:30]])

        tests = CrossValidation.of(data, HALL, 3, 0).tests

        fold = np.empty(len(data), dtype=int)
        for number, test in enumerate(tests):
            fold[test] = number
        assert sorted(np.concatenate(tests)) == [*range(len(data))]
        for groups in (data.visits, data.keys):
            for group in np.unique(groups):
                assert len(np.unique(fold[groups == group])) == 1

    def test_says_when_there_are_too_few_visits(self) -> None:
        with pytest.raises(BadSplit, match="ask for fewer"):
            CrossValidation.of(rows(survey_lines(visits=1)[:24]), HALL, 20, 0)

    def test_counts_wrong_answers_where_positions_are_unknown(self) -> None:
        figures = FoldFigures(rows=10, exact=4)

        assert figures.result(TuningTask(settings=BRIEF, seeds=(0,))).loss == pytest.approx(0.6)


class TestTheSearchSpace:
    @pytest.mark.parametrize(
        "start",
        [
            Hyperparameters(),
            Hyperparameters(epochs=3, batch_size=48, hidden=(64, 32), weight_decay=0.0),
            Hyperparameters(learning_rate=0.2, target_sigma_m=9.0, visit_damping=1.0),
        ],
    )
    def test_holds_the_settings_that_the_search_begins_with(self, start: Hyperparameters) -> None:
        with open_study(start, "q", 0, None) as study:
            assert study.ask().settings == start

    def test_yields_settings_that_people_would_write(self) -> None:
        drawn = {
            **SearchSpace(BRIEF).parameters(),
            "learning_rate": 0.0012345678,
            "hidden": "512x256",
        }

        settings = SearchSpace(BRIEF).settings(drawn)

        assert settings.learning_rate == 0.00123
        assert settings.hidden == (512, 256)
        assert settings.held_out_share == BRIEF.held_out_share


class TestTheStudy:
    def test_draws_the_same_for_a_seed_and_other_things_for_another(self) -> None:
        def drawn(seed: int) -> list[Hyperparameters]:
            with open_study(BRIEF, "q", seed, None) as study:
                return [study.ask().settings for _ in range(5)]

        assert drawn(0) == drawn(0)
        assert drawn(0)[1:] != drawn(1)[1:]

    def test_looks_where_it_was_good(self) -> None:
        with open_study(BRIEF, "q", 0, None) as study:
            seen = []
            for _ in range(60):
                asked = study.ask()
                seen.append(asked.settings.visit_damping)
                study.tell(asked, result(asked.settings, abs(seen[-1] - 0.2)))

        assert (
            np.abs(np.array(seen[-20:]) - 0.2).mean()
            < 0.5 * np.abs(np.array(seen[1:11]) - 0.2).mean()
        )

    def test_resumes_from_its_file(self, tmp_path: Path) -> None:
        with open_study(BRIEF, "q", 0, tmp_path / "study") as study:
            first = study.ask()
            study.tell(first, result(first.settings, 1.5))
            interrupted = study.ask()

        with open_study(BRIEF, "q", 0, tmp_path / "study") as again:
            assert again.ended == 1
            assert again.results == (result(first.settings, 1.5),)
            assert again.ask().settings == interrupted.settings
            assert again.ask().settings not in {first.settings, interrupted.settings}

    def test_of_other_data_is_not_resumed(self, tmp_path: Path) -> None:
        with open_study(BRIEF, "one", 0, tmp_path / "study"):
            pass

        with (
            pytest.raises(UsageError, match="other data"),
            open_study(BRIEF, "other", 0, tmp_path / "study"),
        ):
            pass

    @pytest.mark.parametrize("content", ["buy milk\n", "buy milk", "{}\n", "7\n[]\n"])
    def test_of_another_program_is_left_alone(self, tmp_path: Path, content: str) -> None:
        (tmp_path / "notes").write_text(content)

        with (
            pytest.raises(UsageError, match="no study"),
            open_study(BRIEF, "q", 0, tmp_path / "notes"),
        ):
            pass

        assert (tmp_path / "notes").read_text() == content

    def test_survives_a_line_that_a_kill_cut_off(self, tmp_path: Path) -> None:
        with open_study(BRIEF, "q", 0, tmp_path / "study") as study:
            asked = study.ask()
            study.tell(asked, result(asked.settings, 1.0))
        with (tmp_path / "study").open("a") as journal:
            journal.write('{"op_code": 4, "work')

        with open_study(BRIEF, "q", 0, tmp_path / "study") as study:
            assert study.ended == 1
            study.tell(study.ask(), result(BRIEF, 2.0))
        with open_study(BRIEF, "q", 0, tmp_path / "study") as study:
            assert study.ended == 2

    def test_is_one_search_at_a_time(self, tmp_path: Path) -> None:
        with (
            open_study(BRIEF, "q", 0, tmp_path / "study"),
            pytest.raises(UsageError, match="Another search"),
            open_study(BRIEF, "q", 0, tmp_path / "study"),
        ):
            pass

    def test_prunes_a_trial_that_is_worse_than_most_after_the_same_folds(self) -> None:
        with open_study(BRIEF, "q", 0, None) as study:
            for _ in range(6):
                asked = study.ask()
                assert not any(study.should_prune(asked, fold, 1.0) for fold in (1, 2, 3))
                study.tell(asked, result(asked.settings, 1.0))
            worse = study.ask()

            assert [study.should_prune(worse, fold, 2.0) for fold in (1, 2)] == [False, True]
            study.prune(worse)

            assert study.ended == 7
            assert len(study.results) == 6


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Iterator[FoldPool]:
    """Measures in a thread what the command measures in processes."""
    ground = CrossValidation.of(rows(), HALL, 3, 0)
    monkeypatch.setattr("ops.experiments.tune_processes._cross_validation", [ground])
    with ThreadPoolExecutor(1) as pool:
        yield FoldPool(pool, workers=2, folds=3)


def test_a_search_ends_after_the_requested_trials(measured: FoldPool) -> None:
    with open_study(BRIEF, "q", 0, None) as study:
        seen = [*measured.search(study, trials=3, seed=5)]

        assert seen[-1] == 3
        assert BRIEF in [each.settings for each in study.results]
        assert {each.seeds for each in study.results} == {(5,)}
        assert {each.rows for each in study.results} == {len(rows())}


def test_a_search_that_has_all_its_trials_only_compares_on_fresh_seeds(measured: FoldPool) -> None:
    with open_study(BRIEF, "q", 0, None) as study:
        asked = study.ask()
        study.tell(asked, result(asked.settings, 1.0))

        assert [*measured.search(study, trials=1, seed=0)] == []
        report = compare_on_fresh_seeds(study, BRIEF, measured.measure)

    assert report.before == report.best
    assert report.before.seeds == FRESH_SEEDS


def report(before: float, best: float) -> TuningReport:
    better = BRIEF.model_copy(update={"epochs": 7})
    return TuningReport(
        tried=(result(better, 0.5), result(BRIEF, 1.0)),
        cut_short=1,
        before=result(BRIEF, before),
        best=result(better, best),
    )


@pytest.mark.parametrize(
    ("before", "best", "epochs"), [(2.0, 1.0, 7), (1.0, 2.0, 2), (1.0, 1.0, 2)]
)
def test_the_best_is_kept_only_if_it_wins_on_fresh_seeds_too(
    tmp_path: Path, before: float, best: float, epochs: int
) -> None:
    write_settings(report(before, best), tmp_path / "found.json")

    kept = read_settings(tmp_path / "found.json")
    assert kept is not None
    assert kept.epochs == epochs


def test_the_outcome_is_printed_with_the_best_trials() -> None:
    console = Console(file=io.StringIO(), width=200)

    print_tuning(console, report(2.0, 1.0), Path("found.json"))

    assert isinstance(console.file, io.StringIO)
    assert "the best trial went to found.json" in console.file.getvalue()
    assert "1 more were pruned" in console.file.getvalue()


def test_an_outcome_that_could_not_be_written_is_found_before_the_search(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        check_writable(tmp_path / "nowhere" / "found.json")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["tune", "--out", "x.json"], "--data"),
        (["tune", "--out", "x.json", "--data", "a.csv", "--rounds", "2"], "--rounds"),
        (["tune", "--out", "x.json", "--data", "a.csv", "--runner", "process"], "--runner"),
        (["tune-site", "--out", "x.json", "--site", "lab", "--study", "s"], "--study"),
        (["tune-site", "--out", "x.json", "--site", "lab", "--site-file", "s"], "--site-file"),
        (["tune", "--out", "x.json", "--data", "a.csv", "--site", "lab"], "--data"),
        (["tune", "--out", "x.json", "--site=lab", "--study", "s"], "--study"),
    ],
)
def test_an_option_of_one_search_is_refused_by_the_other(words: list[str], complaint: str) -> None:
    ended = CliRunner().invoke(app, words)

    assert ended.exit_code == 2
    assert complaint in ended.output


@pytest.mark.parametrize("site", [["--site", "lab"], ["--site=lab"]])
def test_tune_with_a_site_is_still_the_search_on_the_sites_surveys(
    monkeypatch: pytest.MonkeyPatch, site: list[str]
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")

    ended = CliRunner().invoke(app, ["tune", *site, "--out", "x.json", "--rounds", "2"])

    assert isinstance(ended.exception, NoStackError)

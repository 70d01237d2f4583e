"""Tables for the terminal about a model: its quality, its predictions, its data, a search."""

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from ops.cli.show import metres, new_table, percent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from events.metrics import Metrics
    from ops.account.prediction_client import Prediction
    from ops.experiments.audit import SurveyAudit
    from ops.experiments.tune import TuningReport
    from trainer.training.evaluation.cross_validation import RecipeMeasurement
    from trainer.training.evaluation.evaluate import Evaluation
    from trainer.training.job.pipeline import TrainingResult
    from trainer.training.quality.audit import Audit
    from trainer.training.reading.surveys import Survey
    from trainer.training.tuning.plan import TuningResult

_MAX_FAULTS = 20
_MAX_TRIALS = 10


def quality_table(figures: "Metrics | Evaluation", rows: int, title: str) -> Table:
    """A model's figures on so many rows."""
    hits = {"floor": figures.floor_accuracy, "building": figures.building_accuracy}
    known = {name: percent(share) for name, share in hits.items() if share is not None}
    columns = ("exact", "within a cell", "mean error", "median", "p90", *known, "rows")
    table = new_table(*columns, title=title)
    table.add_row(
        percent(figures.exact_accuracy),
        percent(figures.within_one_cell),
        metres(figures.mean_error_m),
        metres(figures.median_error_m),
        metres(figures.p90_error_m),
        *known.values(),
        str(rows),
    )
    return table


def prediction_table(prediction: "Prediction") -> Table:
    """The endpoint's prediction for each fingerprint."""
    table = new_table(
        "row", "location", "x", "y", "confidence", "radius", title=f"by {prediction.release}"
    )
    for number, answer in enumerate(prediction.predictions):
        table.add_row(
            str(number),
            answer.location,
            metres(answer.x),
            metres(answer.y),
            percent(answer.confidence),
            metres(answer.radius_m),
        )
    return table


def print_trained(console: Console, result: "TrainingResult") -> None:
    """Print where the bundle is, and how good the recipe is on held-out visits."""
    title = f"on visits that were held out ({result.cells} cells, {result.beacons} beacons)"
    console.print(quality_table(result.metrics, result.metrics.held_out_rows, title))
    console.print(
        f"\n{result.bundle}  {result.bundle_bytes / 1000:.0f} kB, fitted in "
        f"{result.fit_seconds:.2f} s; the model card is beside it\n"
        f"Try it: rssi serve --model {result.bundle}",
        highlight=False,
        soft_wrap=True,
    )


def print_evaluation(console: Console, evaluation: "Evaluation") -> None:
    """Print a bundle's figures."""
    console.print(quality_table(evaluation, evaluation.rows, ""))
    calibration = evaluation.calibration
    if calibration is not None:
        error = f"{calibration.expected_error:.1%}"
        console.print(f"\nexpected calibration error {error}", highlight=False)


def print_recipe_evaluations(
    console: Console, measured: "Sequence[RecipeMeasurement]", seeds: int
) -> None:
    """Print the recipe's figures on each division of the rows, beside simple methods."""
    for found in measured:
        title = f"{found.division}: mean of {seeds} seeds, worst exact {found.worst_exact:.1%}"
        console.print(quality_table(found.mean, found.mean.rows, title))
        for baseline in found.baselines:
            console.print(
                f"  {baseline.name}: {baseline.exact_accuracy:.1%} exact"
                + ("" if baseline.mean_error_m is None else f", {baseline.mean_error_m:.2f} m"),
                style="dim",
                highlight=False,
            )


def print_survey_audit(console: Console, audit: "SurveyAudit") -> None:
    """Print what each survey holds, what is wrong with it, and the audit of all of them."""
    _print_files(console, audit.surveys, audit.refused)
    if audit.audit is not None:
        _print_report(console, audit.audit)


def print_tuning(console: Console, report: "TuningReport", output: Path) -> None:
    """Print the best trials, and which settings were written."""
    console.print(_trials_table(report.tried[:_MAX_TRIALS]))
    if report.cut_short:
        console.print(f"{report.cut_short} more were pruned after some folds", style="dim")
    kept_before = report.kept.settings == report.before.settings
    better = "the settings it began with" if kept_before else "the best trial"
    console.print(
        f"\nOver fresh seeds {report.before.loss:.3f} before and {report.best.loss:.3f} for the "
        f"best trial: {better} went to {output}",
        highlight=False,
    )


def _print_files(console: Console, surveys: "Sequence[Survey]", refused: dict[str, str]) -> None:
    table = new_table(
        "survey", "labelled", "unlabelled", "dropped", "beacons", "times", "delimiter"
    )
    for survey in surveys:
        table.add_row(
            survey.name,
            str(len(survey.labels)),
            str(survey.ignored_rows),
            str(len(survey.faults)),
            str(len(survey.beacons)),
            survey.file_format.time_format or "none understood",
            repr(survey.file_format.delimiter),
        )
    console.print(table)
    for survey in surveys:
        for fault in survey.faults[:_MAX_FAULTS]:
            console.print(
                f"  dropped  {survey.name}: {fault.reason}", highlight=False, markup=False
            )
        if len(survey.faults) > _MAX_FAULTS:
            console.print(f"  and {len(survey.faults) - _MAX_FAULTS} more in {survey.name}")
    for file, reason in refused.items():
        console.print(f"quarantined  {file}: {reason}", style="red", highlight=False, markup=False)


def _print_report(console: Console, report: "Audit") -> None:
    from trainer.training.quality.findings import Severity

    smallest, median, largest = report.label_shares
    console.print(
        f"\n{report.rows} rows, {report.cells} locations (each {smallest:.2%} to {largest:.2%} of "
        f"the rows, median {median:.2%}), {report.visits} visits",
        highlight=False,
    )
    for finding in sorted(report.findings, key=lambda found: found.weight is Severity.NOTE):
        style = "yellow" if finding.weight is Severity.WARNING else "dim"
        console.print(f"\n{finding.topic}", style=f"bold {style}", end="  ")
        console.print(finding.seen, highlight=False, markup=False)
        console.print(f"  {finding.means} {finding.done}", style="dim", highlight=False)


def _trials_table(results: "Sequence[TuningResult]") -> Table:
    table = new_table("loss", "exact", "epochs", "batch", "rate", "hidden", "sigma", "damping")
    for result in results:
        settings = result.settings
        table.add_row(
            f"{result.loss:.3f}",
            f"{result.exact_accuracy:.1%}",
            str(settings.epochs),
            str(settings.batch_size),
            f"{settings.learning_rate:g}",
            "x".join(map(str, settings.hidden)),
            f"{settings.target_sigma_m:g}",
            f"{settings.visit_damping:g}",
        )
    return table

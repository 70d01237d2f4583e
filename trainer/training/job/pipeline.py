"""The training pipeline: from surveys to a release's files, one stage after the other.

::

    surveys → JoinedSurveys → DataQuality → HoldOut → HoldOutEvaluation → Comparison
                    └────────────────────────────────→ FittedModel → PackagedModel → reports

Each stage runs once and takes the results of earlier ones; a new stage gets a result class, a
function and a line in :func:`train`. The metrics come from a fit that has not seen the rows they
are measured on; the packaged model is then fitted on every labelled row, with the same recipe and
seed. The metrics therefore say what the recipe does on unseen visits, and the packaged model, which
saw more, is expected to do no worse. Until the packaged model has passed its last check there is
nothing to release.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from events.manifests import SmokeCase
from events.metrics import Metrics
from trainer.localization.dense.network import Network
from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.evaluation.champion import ChampionModel
from trainer.training.evaluation.comparison import (
    CandidateHoldOut,
    Comparison,
    compare,
    held_out_rows,
    mark_rows,
)
from trainer.training.evaluation.evaluate import CellError, release_metrics
from trainer.training.evaluation.hold_out import HoldOut, HoldOutScheme, Mask, hold_out
from trainer.training.evaluation.hold_out_evaluation import HoldOutEvaluation, evaluate_hold_out
from trainer.training.fitting.device import device_name
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.fitting.model_family import MODEL_FAMILY
from trainer.training.job.packaging import (
    PackagedModel,
    describe_model,
    feature_parameters,
    package_model,
)
from trainer.training.quality.audit import Audit, audit
from trainer.training.quality.near_duplicates import NearDuplicates, find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey
from trainer.training.reading.training_set import TrainingSet, check_enough, join_masked
from trainer.training.reports.card import write_card
from trainer.training.reports.content import ReportContent
from trainer.training.reports.metrics_file import metrics_document, write_metrics
from trainer.training.reports.provenance import ReportContext

MODEL_FILE = "model.tar.gz"
METRICS_FILE = "metrics.json"
CARD_FILE = "model-card.html"

Progress = Callable[[str], object]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training yielded; the files lie in the folder that the caller named."""

    bundle: Path
    digest: str
    release_id: str
    metrics: Metrics
    scheme: HoldOutScheme
    cell_errors: tuple[CellError, ...]
    smoke: tuple[SmokeCase, ...]
    fit_seconds: float
    """The fit on all rows, without the hold-out's fit before it or the import of MXNet."""
    bundle_bytes: int
    beacons: int
    cells: int


def train(
    surveys: Sequence[Survey],
    site: SiteDescription,
    hyperparameters: Hyperparameters,
    release_id: str,
    out_dir: Path,
    progress: Progress = lambda _: None,
    context: ReportContext = ReportContext(),  # noqa: B008 - frozen
) -> TrainingResult:
    """Train a model and write ``model.tar.gz``, ``metrics.json`` and ``model-card.html``.

    Args:
        surveys: all there are of the site.
        site: its name and grid.
        hyperparameters: the recipe's settings, with the seed.
        release_id: the bundle's own name, which goes into every answer.
        out_dir: an existing folder; files of these names are replaced.
        progress: called with a few words before each step.
        context: what only the reports depend on.

    Raises:
        BadSurvey: surveys contradict each other; ``survey_index`` tells which.
        NotEnoughData: there is too little to learn from.
        BundleMismatch: the packaged model does not answer as the trained one.
    """
    joined = join_surveys(surveys, site, context.known_to_champion)
    rows = joined.rows
    progress("auditing the rows")
    quality = assess_quality(joined, site)
    progress(f"holding out visits of {len(rows)} rows at {len(rows.labels)} locations")
    load_mxnet()  # The import takes longer than a fit and must not count as its time.
    split = split_rows(rows, quality, hyperparameters)
    evaluated = evaluate_hold_out(rows, split, site, hyperparameters)
    candidate = candidate_of(joined, quality, split, evaluated)
    comparison = None
    if isinstance(context.champion, ChampionModel):
        progress("comparing with what is live")
        comparison = compare(context.champion, candidate, site, hyperparameters)
    progress(f"fitting on all rows ({device_name()})")
    fitted = fit_all_rows(rows, hyperparameters)
    progress("packing the model and serving it once")
    description = describe_model(rows, site, release_id, evaluated)
    packaged = package_model(rows, description, fitted.network, out_dir / MODEL_FILE)
    progress("writing the model card")
    stages = TrainingStages(joined, quality, candidate, evaluated, comparison, fitted, packaged)
    content = report_content(stages, site, hyperparameters, context)
    write_reports(content, out_dir)
    return TrainingResult(
        bundle=packaged.info.path,
        digest=packaged.info.digest,
        release_id=release_id,
        metrics=content.metrics,
        scheme=split.scheme,
        cell_errors=evaluated.cells,
        smoke=packaged.smoke,
        fit_seconds=fitted.seconds,
        bundle_bytes=packaged.info.size,
        beacons=len(rows.beacons),
        cells=len(rows.labels),
    )


@dataclass(frozen=True, slots=True, eq=False)
class JoinedSurveys:
    """All surveys of a site, with missing values masked, and their rows as one set."""

    surveys: tuple[Survey, ...]
    rows: TrainingSet
    known_to_champion: tuple[bool, ...]
    """For each survey, whether the champion learnt from it; empty without a champion."""
    seen_by_champion: Mask
    """(rows,) whether the champion learnt from the row's survey."""


def join_surveys(
    surveys: Sequence[Survey], site: SiteDescription, known_to_champion: tuple[bool, ...]
) -> JoinedSurveys:
    """Mask missing values and put all rows into one training set.

    Raises:
        BadSurvey: surveys contradict each other; ``survey_index`` tells which.
        NotEnoughData: there is too little to learn from.
    """
    masked = mask_sentinel(surveys, site)
    rows = join_masked(masked, site)
    check_enough(rows)
    seen = mark_rows(
        [len(survey.labels) for survey in masked], known_to_champion or [False] * len(masked)
    )
    return JoinedSurveys(tuple(masked), rows, known_to_champion, seen)


@dataclass(frozen=True, slots=True, eq=False)
class DataQuality:
    """What is notable about the rows."""

    near_duplicates: NearDuplicates
    audit: Audit


def assess_quality(joined: JoinedSurveys, site: SiteDescription) -> DataQuality:
    """Search the rows for copies and audit them."""
    duplicates = find_near_duplicates(joined.rows)
    report = audit(joined.rows, joined.surveys, site, duplicates, joined.known_to_champion)
    return DataQuality(duplicates, report)


def split_rows(
    rows: TrainingSet, quality: DataQuality, hyperparameters: Hyperparameters
) -> HoldOut:
    """Hold out rows; a row and its near duplicate stay on one side."""
    share, seed = hyperparameters.held_out_share, hyperparameters.seed
    return hold_out(rows, share, seed, quality.near_duplicates.pairs)


def candidate_of(
    joined: JoinedSurveys, quality: DataQuality, split: HoldOut, evaluated: HoldOutEvaluation
) -> CandidateHoldOut:
    """What this candidate, or the next one, needs for a comparison."""
    return CandidateHoldOut(
        data=joined.rows,
        split=split,
        scores=evaluated.scores,
        baselines=evaluated.evaluation.baselines,
        seen_by_champion=joined.seen_by_champion,
        near_duplicates=quality.near_duplicates,
    )


@dataclass(frozen=True, slots=True, eq=False)
class FittedModel:
    """The network fitted on every labelled row."""

    network: Network
    curve: tuple[float, ...]
    """The mean loss after each epoch, in nats."""
    seconds: float


def fit_all_rows(rows: TrainingSet, hyperparameters: Hyperparameters) -> FittedModel:
    """Fit the network that is released."""
    curve: list[float] = []
    started = time.monotonic()
    network = MODEL_FAMILY.fit(rows, feature_parameters(rows), hyperparameters, curve.append)
    return FittedModel(network, tuple(curve), time.monotonic() - started)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingStages:
    """The results of all stages before the reports."""

    joined: JoinedSurveys
    quality: DataQuality
    candidate: CandidateHoldOut
    evaluated: HoldOutEvaluation
    comparison: Comparison | None
    fitted: FittedModel
    packaged: PackagedModel


def report_content(
    stages: TrainingStages,
    site: SiteDescription,
    hyperparameters: Hyperparameters,
    context: ReportContext,
) -> ReportContent:
    """Everything that ``metrics.json`` and the model card show."""
    evaluated, comparison, split = stages.evaluated, stages.comparison, stages.candidate.split
    return ReportContent(
        release_id=stages.packaged.release_id,
        digest=stages.packaged.info.digest,
        site=site,
        surveys=tuple((survey.name, len(survey.labels)) for survey in stages.joined.surveys),
        hyperparameters=hyperparameters,
        context=context,
        audit=stages.quality.audit,
        protocol=split.scheme,
        metrics=release_metrics(
            evaluated.evaluation,
            rows=len(stages.joined.rows),
            trained_rows=len(split.trained),
            against_champion=comparison.summary if comparison else None,
            beacons=len(stages.quality.audit.beacons),
            location_coverage=_coverage(site, stages.quality.audit.empty_cells),
        ),
        evaluation=evaluated.evaluation,
        errors_m=evaluated.scores.errors_m,
        cells=evaluated.cells,
        confusions=evaluated.confusions,
        radius=evaluated.radius,
        confidence=evaluated.confidence,
        held_out=held_out_rows(stages.candidate),
        comparison=comparison,
        curve=stages.fitted.curve,
    )


def _coverage(site: SiteDescription, empty_cells: Sequence[str]) -> float | None:
    """The share of the described locations that have rows; None if none is described."""
    described = len(site.positions)
    return 1 - len(empty_cells) / described if described else None


def write_reports(content: ReportContent, out_dir: Path) -> None:
    """Write ``metrics.json`` and the model card, from the same figures."""
    document = metrics_document(content)
    write_metrics(out_dir / METRICS_FILE, document)
    write_card(out_dir / CARD_FILE, document, content)

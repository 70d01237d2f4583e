"""From surveys to a release's files: hold out, fit, evaluate, fit again on all, pack, serve once.

The metrics come from a fit that has not seen the rows they are measured on; the packaged model is
then fitted on every labelled row, with the same recipe and seed. They therefore say what the
recipe does on unseen visits, and the packaged model, which saw more, is expected to do no worse.
What may go wrong: bad surveys, too little data, a package that does not answer as it should; each
has its error, and until the last check passed there is nothing to release.
"""

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from events.manifests import SmokeAnswer, SmokeCase
from events.metrics import HeldOutRows, Metrics
from trainer.localization.bundle.description import BundleInfo, ModelDescription, SmokeRow
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.mxnet_graph import export
from trainer.localization.dense.network import Network
from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.evaluation.baselines import baselines
from trainer.training.evaluation.champion import ChampionModel
from trainer.training.evaluation.comparison import (
    CandidateHoldOut,
    Comparison,
    compare,
    held_out_rows,
    of_survey,
)
from trainer.training.evaluation.confidence import ConfidenceReport, calibrate_confidence
from trainer.training.evaluation.cross_validation import measure_hold_out
from trainer.training.evaluation.evaluate import (
    CellError,
    Confusion,
    Evaluation,
    RowScores,
    cell_errors,
    confusions,
    metrics,
    summarize,
    with_intervals,
)
from trainer.training.evaluation.hold_out import HoldOut, HoldOutScheme, Mask, hold_out
from trainer.training.evaluation.reliability import RadiusReport, fit_radius
from trainer.training.fitting.device import device_name
from trainer.training.fitting.fit import fit
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.smoke import choose_smoke_rows
from trainer.training.job.verification import verify_bundle
from trainer.training.quality.audit import Audit, audit
from trainer.training.quality.near_duplicates import NearDuplicates, find_near_duplicates
from trainer.training.reading.missing_values import mask_sentinel
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import TrainingSet, check_enough, join_masked
from trainer.training.reports.card import write_card
from trainer.training.reports.content import ReportContent
from trainer.training.reports.floor_plan import read_picture
from trainer.training.reports.metrics_file import metrics_document, write_metrics
from trainer.training.reports.provenance import ReportContext, SurveyOrigin

MODEL_FILE = "model.tar.gz"
METRICS_FILE = "metrics.json"
CARD_FILE = "model-card.html"

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a training yielded; the files lie in the folder that the caller named."""

    bundle: Path
    digest: str
    release_id: str
    metrics: Metrics
    protocol: HoldOutScheme
    cell_errors: tuple[CellError, ...]
    smoke: tuple[SmokeCase, ...]
    fit_seconds: float
    """The fit on all rows: neither the rehearsal before it nor the import of MXNet."""
    bundle_bytes: int
    labelled_rows: int
    ignored_rows: int
    beacons: int
    cells: int


@dataclass(frozen=True, slots=True, eq=False)
class _Rehearsal:
    """The honest evaluation: what a fit without the held-out rows came to."""

    split: HoldOut
    scores: RowScores
    evaluation: Evaluation
    metrics: Metrics
    cells: tuple[CellError, ...]
    confusions: tuple[Confusion, ...]
    radius: RadiusReport | None
    confidence: ConfidenceReport | None


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
        release_id: what the bundle says that it is; it goes into every answer.
        out_dir: an existing folder; files of these names are replaced.
        progress: told each step in a few words before it begins.
        context: what the reports tell besides; the model does not depend on it.

    Raises:
        BadSurvey: surveys contradict each other; ``place`` tells which.
        NotEnoughData: there is too little to learn from.
        BundleMismatch: the packaged model does not answer as the trained one.
    """
    surveys = mask_sentinel(surveys, site)
    data = join_masked(surveys, site)
    check_enough(data)
    progress("auditing the rows")
    copies = find_near_duplicates(data)
    report = audit(data, surveys, site, copies, context.known_to_champion)
    progress(f"holding out visits of {len(data)} rows at {len(data.labels)} locations")
    # Its import takes longer than the fits, and is not their time.
    load_mxnet()
    rehearsal = _rehearse(data, copies, site, hyperparameters)
    asked = CandidateHoldOut(
        data=data,
        trained=rehearsal.split.trained,
        held_out=rehearsal.split.held_out,
        scores=rehearsal.scores,
        learnt=_learnt_by_champion(surveys, context),
        copies=copies,
    )
    champion = context.champion
    comparison = None
    if isinstance(champion, ChampionModel):
        progress("comparing with what is live")
        comparison = compare(champion, asked, site, hyperparameters)
    progress(f"fitting on all rows ({device_name()})")
    curve: list[float] = []
    started = time.monotonic()
    network = fit(data, _features(data), hyperparameters, curve.append)
    fit_seconds = time.monotonic() - started
    progress("packing the model and serving it once")
    description = _describe(data, site, release_id, rehearsal)
    info, smoke = _package(data, description, network, out_dir / MODEL_FILE)
    progress("writing the model card")
    result = TrainingResult(
        bundle=info.path,
        digest=info.digest,
        release_id=release_id,
        metrics=rehearsal.metrics.model_copy(
            update={"against_champion": comparison.told if comparison else None}
        ),
        protocol=rehearsal.split.protocol,
        cell_errors=rehearsal.cells,
        smoke=smoke,
        fit_seconds=fit_seconds,
        bundle_bytes=info.size,
        labelled_rows=len(data),
        ignored_rows=sum(survey.ignored_rows for survey in surveys),
        beacons=len(data.beacons),
        cells=len(data.labels),
    )
    _write_reports(
        _Reported(
            result=result,
            rehearsal=rehearsal,
            audit=report,
            comparison=comparison,
            held_out=held_out_rows(asked),
            curve=tuple(curve),
            surveys=surveys,
            site=site,
            hyperparameters=hyperparameters,
            context=context,
        ),
        out_dir,
    )
    return result


def train_files(
    data: Sequence[Path],
    out: Path,
    seed: int,
    site: SiteDescription,
    hyperparameters: Hyperparameters | None = None,
    progress: Progress = lambda _: None,
    site_folder: Path | None = None,
) -> TrainingResult:
    """Train from files on this machine, without any cloud.

    Args:
        data: surveys.
        out: a folder for the release's files; made if it is not there.
        seed: of everything random; wins over the one in ``hyperparameters``.
        site: where the surveys were taken.
        hyperparameters: the recipe's settings; its defaults if None.
        progress: told each step in a few words before it begins.
        site_folder: where the site's description lies, and its floor's picture beside it.

    Returns:
        The result; its release id is named by the content of the surveys and the settings.

    Raises:
        BadSurvey: a survey can't be used.
        NotEnoughData: there is too little to learn from.
        BundleMismatch: the packaged model does not answer as the trained one.
        OSError: a file can't be read or written.
    """
    settings = (hyperparameters or Hyperparameters()).model_copy(update={"seed": seed})
    progress(f"reading {len(data)} survey{'s' * (len(data) != 1)}")
    digests = [_sha256(path) for path in data]
    surveys = [read_survey(path, site) for path in data]
    out.mkdir(parents=True, exist_ok=True)
    context = ReportContext(
        surveys=tuple(SurveyOrigin(digest.hex()) for digest in digests),
        floor_plan=None if site_folder is None else read_picture(site, site_folder),
    )
    release_id = _off_cloud_id(digests, site, settings)
    return train(surveys, site, settings, release_id, out, progress, context)


def _sha256(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _off_cloud_id(
    digests: Sequence[bytes], site: SiteDescription, settings: Hyperparameters
) -> str:
    """A run id like the agent's, from what was trained; the order of the files is no matter."""
    digest = hashlib.sha256()
    for content in sorted(digests):
        digest.update(content)
    digest.update(site.model_dump_json().encode())
    digest.update(settings.model_dump_json().encode())
    return f"{site.name}-{digest.hexdigest()[:12]}"


def _learnt_by_champion(surveys: Sequence[Survey], context: ReportContext) -> Mask:
    known = context.known_to_champion or [False] * len(surveys)
    return of_survey([len(survey.labels) for survey in surveys], known)


def _rehearse(
    data: TrainingSet,
    copies: NearDuplicates,
    site: SiteDescription,
    hyperparameters: Hyperparameters,
) -> _Rehearsal:
    """Fit without the held-out rows and judge the answers to them."""
    split = hold_out(data, hyperparameters.held_out_share, hyperparameters.seed, copies.pairs)
    rehearsed = measure_hold_out(data, split.trained, split.held_out, site, hyperparameters)
    scores, expected, sampled = rehearsed.scores, rehearsed.expected_m, rehearsed.sampled
    truth, visits = data.cells[split.held_out], data.visits[split.held_out]
    confidence = calibrate_confidence(rehearsed.posteriors, scores.exact[sampled], visits[sampled])
    evaluation = with_intervals(summarize(scores), scores, visits)
    evaluation = replace(
        evaluation,
        calibration=confidence.told if confidence else evaluation.calibration,
        baselines=baselines(data, split.trained, split.held_out),
    )
    return _Rehearsal(
        split=split,
        scores=scores,
        evaluation=evaluation,
        metrics=metrics(evaluation, rows=len(data), trained_rows=len(split.trained)),
        cells=tuple(cell_errors(data, truth, scores)),
        confusions=tuple(confusions(data, truth, scores)),
        radius=None
        if expected is None or scores.errors_m is None
        else fit_radius(expected, scores.errors_m, visits),
        confidence=confidence,
    )


def _features(data: TrainingSet) -> FeatureParameters:
    return FeatureParameters(not_heard_below_dbm=data.not_heard_below)


def _describe(
    data: TrainingSet, site: SiteDescription, release_id: str, rehearsal: _Rehearsal
) -> ModelDescription:
    radius, confidence = rehearsal.radius, rehearsal.confidence
    return ModelDescription(
        release=release_id,
        site=site.name,
        beacons=data.beacons,
        cells=data.labels,
        positions=_pairs(data),
        features=_features(data),
        radius=None if radius is None else radius.radius,
        confidence_temperature=None if confidence is None else confidence.temperature,
    )


def _package(
    data: TrainingSet, description: ModelDescription, network: Network, path: Path
) -> tuple[BundleInfo, tuple[SmokeCase, ...]]:
    """Write the bundle and let its own server prove it."""
    smoke = choose_smoke_rows(data, LoadedModel(description, network, smoke=(), digest=""))
    exported = export(network, description.features)
    info = write_bundle(path, description, network, exported, smoke)
    verify_bundle(path, exported)
    return info, tuple(_smoke_case(row) for row in smoke)


def _pairs(data: TrainingSet) -> tuple[tuple[float, float], ...] | None:
    if data.positions is None:
        return None
    return tuple((float(x), float(y)) for x, y in data.positions)


def _smoke_case(row: SmokeRow) -> SmokeCase:
    answer = row.answer
    return SmokeCase(
        rssi=dict(row.rssi),
        answer=SmokeAnswer(
            location=answer.location, x=answer.x, y=answer.y, confidence=answer.confidence
        ),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Reported:
    """All that the reports tell."""

    result: TrainingResult
    rehearsal: _Rehearsal
    audit: Audit
    comparison: Comparison | None
    held_out: HeldOutRows | None
    curve: tuple[float, ...]
    surveys: Sequence[Survey]
    site: SiteDescription
    hyperparameters: Hyperparameters
    context: ReportContext


def _write_reports(told: _Reported, out_dir: Path) -> None:
    """``metrics.json`` and the card, from the same figures."""
    result, rehearsal = told.result, told.rehearsal
    content = ReportContent(
        release_id=result.release_id,
        digest=result.digest,
        site=told.site,
        surveys=tuple((survey.name, len(survey.labels)) for survey in told.surveys),
        hyperparameters=told.hyperparameters,
        context=told.context,
        audit=told.audit,
        protocol=result.protocol,
        metrics=result.metrics,
        evaluation=rehearsal.evaluation,
        errors_m=rehearsal.scores.errors_m,
        cells=result.cell_errors,
        confusions=rehearsal.confusions,
        radius=rehearsal.radius,
        confidence=rehearsal.confidence,
        held_out=told.held_out,
        comparison=told.comparison,
        curve=told.curve,
    )
    document = metrics_document(content)
    write_metrics(out_dir / METRICS_FILE, document)
    write_card(out_dir / CARD_FILE, document, content)

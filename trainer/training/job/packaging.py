"""Packs a fitted model with its smoke rows and checks the bundle before anything is released."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from events.manifests import SmokeAnswer, SmokeCase
from trainer.localization.bundle.description import BundleInfo, ModelDescription, SmokeRow
from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.bundle.writing import write_bundle
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network
from trainer.training.evaluation.hold_out_evaluation import HoldOutEvaluation
from trainer.training.fitting.model_family import MODEL_FAMILY
from trainer.training.job.smoke import choose_smoke_rows
from trainer.training.job.verification import verify_bundle
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.training_set import TrainingSet


def feature_parameters(rows: TrainingSet) -> FeatureParameters:
    """The features' parameters for a site's rows."""
    return FeatureParameters(not_heard_below_dbm=rows.not_heard_below)


def describe_model(
    rows: TrainingSet, site: SiteDescription, release_id: str, evaluated: HoldOutEvaluation
) -> ModelDescription:
    """What the bundle says about the model, with what the hold-out calibrated."""
    radius, confidence, positions = evaluated.radius, evaluated.confidence, rows.positions
    return ModelDescription(
        release=release_id,
        site=site.name,
        beacons=rows.beacons,
        cells=rows.labels,
        positions=None if positions is None else tuple((float(x), float(y)) for x, y in positions),
        features=feature_parameters(rows),
        radius=None if radius is None else radius.radius,
        confidence_temperature=None if confidence is None else confidence.temperature,
        floors=_known([storey.floor for storey in rows.storeys or ()]),
        buildings=_known([storey.building for storey in rows.storeys or ()]),
    )


def _known(texts: Sequence[str]) -> tuple[str | None, ...] | None:
    """The texts, None for blank ones; None altogether if no cell has any."""
    return tuple(text or None for text in texts) if any(texts) else None


@dataclass(frozen=True, slots=True)
class PackagedModel:
    """A bundle that answered its smoke rows as MXNet does."""

    release_id: str
    info: BundleInfo
    smoke: tuple[SmokeCase, ...]


def package_model(
    rows: TrainingSet, description: ModelDescription, network: Network, path: Path
) -> PackagedModel:
    """Write the bundle and check it with the code that will serve it.

    Raises:
        BundleMismatch: the packaged model does not answer as the trained one.
    """
    smoke = choose_smoke_rows(rows, LoadedModel(description, network, smoke=(), digest=""))
    exported = MODEL_FAMILY.export(network, description.features)
    info = write_bundle(path, description, network, exported, smoke)
    verify_bundle(path, exported)
    return PackagedModel(description.release, info, tuple(_smoke_case(row) for row in smoke))


def _smoke_case(row: SmokeRow) -> SmokeCase:
    answer = row.answer
    return SmokeCase(
        rssi=dict(row.rssi),
        answer=SmokeAnswer(
            location=answer.location,
            x=answer.x,
            y=answer.y,
            confidence=answer.confidence,
            floor=answer.floor,
            building=answer.building,
        ),
    )

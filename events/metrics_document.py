"""``metrics.json``: everything that was measured of a release; the card and later runs read it."""

import math
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from events.metrics import ComparisonBasis, Metrics
from events.names import Digest


def _none_for_nan(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


MaybeFloat = Annotated[float | None, BeforeValidator(_none_for_nan)]
"""None where a figure is unknown; former trainers wrote NaN, which is not JSON."""


class MetricsPart(BaseModel):
    """Base of the parts of ``metrics.json``; unknown keys are ignored, as in every contract."""

    model_config = ConfigDict(
        frozen=True, extra="ignore", defer_build=True, use_attribute_docstrings=True
    )


class ConfidenceInterval(MetricsPart):
    """Where a figure lies with 95 % confidence, from resampling whole visits."""

    low: float
    high: float


class FigureIntervals(MetricsPart):
    """The interval of each figure; None for what is unknown."""

    exact_accuracy: ConfidenceInterval
    within_one_cell: ConfidenceInterval | None = None
    mean_error_m: ConfidenceInterval | None = None
    median_error_m: ConfidenceInterval | None = None
    p90_error_m: ConfidenceInterval | None = None


class FigureUnit(StrEnum):
    """What a figure is measured in."""

    METRES = "metres"
    """A mean error, where reference points have positions; less is better."""
    SHARE = "share"
    """The share of exact answers, 0 to 1, where a site has labels only; more is better."""


class HeadlineQuestion(StrEnum):
    """Which rows the headline's model had to answer; a harder question gives a worse figure."""

    UNSEEN_VISITS = "unseen_visits"
    """Rows of visits that the fit has not seen, at locations that it has."""
    ENDS_OF_SEEN_VISITS = "ends_of_seen_visits"
    """The last rows of visits whose first rows it has seen; flatters the model."""
    UNSEEN_LOCATIONS = "unseen_locations"
    """Rows of locations that it has not seen, none of which can be answered exactly."""


class MeasuredFigure(MetricsPart):
    """One figure with all that is needed to judge it."""

    value: float
    unit: FigureUnit
    interval: ConfidenceInterval | None = None
    """With 95 % confidence; None where it was not measured."""
    rows: int
    """How many held-out rows it was measured on."""


class Headline(MeasuredFigure):
    """The figure to quote."""

    question: HeadlineQuestion
    locations: int
    """How many locations those rows were taken at."""


class ChampionDifference(MeasuredFigure):
    """The candidate's figure minus the champion's, on the same rows."""

    basis: ComparisonBasis


class ReliabilityBin(MetricsPart):
    """Rows whose confidence was about the same."""

    rows: int
    confidence: float
    """Their mean confidence."""
    exact: float
    """The share of them that was answered exactly."""


class ReliabilityDiagram(MetricsPart):
    """Confidence beside the share of exact answers."""

    expected_error: float
    """Expected calibration error over ten bins of equal width (Guo et al., 2017)."""
    bins: tuple[ReliabilityBin, ...]


class TemperatureScaling(MetricsPart):
    """The confidence's temperature, and what it does to rows that it was not fitted to.

    Brier score: the mean square of confidence minus outcome (0 is best).
    """

    temperature: float
    own: ReliabilityDiagram
    """The network's own probability, in bins."""
    own_brier: float
    told: ReliabilityDiagram
    """The confidence that answers carry."""
    told_brier: float


class RadiusScale(MetricsPart):
    """An answer's radius is ``scale`` times the error that the model expects of it."""

    share: float
    """The share of true places that the radius should hold."""
    scale: float


class RadiusFigures(MetricsPart):
    """The radius that answers carry, measured on rows that it was not fitted to."""

    radius: RadiusScale
    coverage: float
    """The share of true places that it held."""
    median_m: float


class BaselineFigures(MetricsPart):
    """A method without training, on the held-out rows or an even sample of them."""

    name: str
    rows: int
    """How many held-out rows it answered."""
    known: int
    """How many rows it knew."""
    exact_accuracy: float
    mean_error_m: MaybeFloat = None
    p90_error_m: MaybeFloat = None


class LocationFigures(MetricsPart):
    """One location of the floor map; lengths in metres."""

    label: str
    x: float | None = None
    y: float | None = None
    rows: int
    """How many held-out rows were taken here."""
    exact: float | None = None
    """The share of them that was answered exactly; None if there were none."""
    mean_error_m: MaybeFloat = None


class ConfusedLocations(MetricsPart):
    """How often one location is answered where another is right."""

    truth: str
    answered: str
    rows: int
    share: float
    """A share of the true location's rows."""
    apart_m: MaybeFloat = None


class RepeatedRows(MetricsPart):
    """A block of rows that repeats an earlier one; places in the training set, ends included."""

    first: int
    last: int
    source_first: int
    source_last: int
    rows: int
    """How many rows of the block repeat their source's."""
    order: str


class BeaconFigures(MetricsPart):
    """One beacon over all rows; dBm."""

    name: str
    heard_share: float
    median_dbm: float | None = None
    lowest_dbm: float | None = None
    highest_dbm: float | None = None
    distinct: int
    """How many different readings it gave."""
    drift: float | None = None
    """Kolmogorov-Smirnov distance between two sets of surveys, 0 to 1; None if not compared."""


class DataFinding(MetricsPart):
    """One thing that the audit found."""

    topic: str
    weight: Literal["note", "warning"]
    """A warning needs a person's attention."""
    seen: str
    means: str
    done: str


class DataAudit(MetricsPart):
    """What the audit of the training set found."""

    rows: int
    cells: int
    unlabelled_rows: int
    """Rows without a location, which nothing was learnt from."""
    dropped: tuple[tuple[str, int], ...]
    """Why rows were dropped, and how many."""
    visits: int
    median_visit_rows: float
    copied_pairs: int
    copied_blocks: tuple[RepeatedRows, ...]
    exact_copies: int
    label_shares: tuple[float, float, float]
    """The smallest, median and largest share of the rows that one location has."""
    empty_cells: tuple[str, ...]
    """Locations that the site describes and that have no row."""
    drift_between: str
    """Which sets of surveys the drift is measured between, or why it is not."""
    beacons: tuple[BeaconFigures, ...]
    findings: tuple[DataFinding, ...]


class HeldOutRows(MetricsPart):
    """How each held-out row was answered, in the order of the rows' hashes.

    With it, two trainings that held out the same rows are compared row by row.
    """

    digest: Digest
    """SHA-256 of the rows' hashes: equal if, and only if, the same rows were held out."""
    exact: tuple[bool, ...] = Field(min_length=1)
    errors_m: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)] | None, ...] | None = None
    """None without positions, and for each row whose place is unknown."""


class ChampionComparison(MetricsPart):
    """The comparison with the champion, beyond the figures of ``against_champion``."""

    difference: ChampionDifference | None = None
    """The one figure to judge by; releases from before it was kept have none."""
    candidate_intervals: FigureIntervals | None = None
    champion_intervals: FigureIntervals | None = None
    baselines: tuple[BaselineFigures, ...] = ()
    """On the rows of the comparison; releases from before they were kept have none."""


class SurveyLineage(MetricsPart):
    """One survey that the release was trained from; None for what is unknown."""

    name: str
    rows: int
    """Labelled rows."""
    sha256: str | None = None
    """SHA-256 of the file's bytes, in hex."""
    version_id: str | None = None
    """The version in the data bucket; None for a file that was never there."""
    id: str | None = None
    """Names this very upload."""
    known_to_champion: bool = False


class Lineage(MetricsPart):
    """What the release was made from, complete enough to make it again."""

    surveys: tuple[SurveyLineage, ...]
    snapshot: str | None = None
    """The digest of the sealed list of surveys; None for a training from files."""
    trainer_version: str
    image: str
    packages: dict[str, str]
    """Versions, by name."""
    hyperparameters: dict[str, JsonValue]
    champion: str | None = None
    """The run id of the release that was live."""
    no_champion: str | None = None
    """Why there was no champion to compare with."""


class MetricsDocument(Metrics):
    """``metrics.json``: what the manifest says of a release's figures, and all the others."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    headline: Headline | None = None
    """Releases from before it was kept have none."""
    protocol: str
    """How rows were held out, in words."""
    intervals: FigureIntervals | None = None
    calibration: ReliabilityDiagram | None = None
    """The confidence that answers carry."""
    baselines: tuple[BaselineFigures, ...] = ()
    confidence: TemperatureScaling | None = None
    """None where too few rows were held out to fit a temperature."""
    radius: RadiusFigures | None = None
    """None without positions, or where too few rows were held out."""
    cells: tuple[LocationFigures, ...] = ()
    confusions: tuple[ConfusedLocations, ...] = ()
    """The most frequent ones, in descending order."""
    training_curve: tuple[float, ...] = ()
    """The mean loss of each epoch of the packaged model's fit, in nats."""
    audit: DataAudit
    held_out: HeldOutRows | None = None
    """None for a very large hold-out."""
    comparison: ChampionComparison | None = None
    """None where nothing was compared."""
    lineage: Lineage

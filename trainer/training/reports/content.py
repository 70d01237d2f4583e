"""What the training hands over to the reports."""

from dataclasses import dataclass

from events.metrics import Metrics
from events.metrics_document import HeldOutRows
from trainer.training.evaluation.comparison import Comparison
from trainer.training.evaluation.confidence import ConfidenceReport
from trainer.training.evaluation.evaluate import CellError, Confusion, Evaluation
from trainer.training.evaluation.hold_out import HoldOutScheme
from trainer.training.evaluation.reliability import RadiusReport
from trainer.training.evaluation.scores import Errors
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.quality.audit import Audit
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reports.provenance import ReportContext


@dataclass(frozen=True, slots=True, eq=False)
class ReportContent:
    """The results of a training; lengths in metres."""

    release_id: str
    digest: str
    site: SiteDescription
    surveys: tuple[tuple[str, int], ...]
    """Name and labelled rows of each."""
    hyperparameters: Hyperparameters
    context: ReportContext
    audit: Audit
    protocol: HoldOutScheme
    metrics: Metrics
    evaluation: Evaluation
    errors_m: Errors | None
    """(held-out rows,) NaN where the place is unknown; None without positions."""
    cells: tuple[CellError, ...]
    confusions: tuple[Confusion, ...]
    radius: RadiusReport | None
    confidence: ConfidenceReport | None
    held_out: HeldOutRows | None
    comparison: Comparison | None
    """None where no champion is known."""
    curve: tuple[float, ...]
    """The mean loss of each epoch of the packaged model's fit, in nats."""

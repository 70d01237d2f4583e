"""A search for hyperparameters that is spread over processes which share nothing but a bucket.

The plan is written once and named by its content. Each of its tasks is measured by the process of
that index, and the result is stored under that index. So a process that is started twice writes the
same result, and a repeated search finds what is done. The module is light to import: planning or
starting processes must not load MXNet.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from events.base import canonical_digest
from events.manifests import Snapshot, Text
from events.names import Digest, check_site
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.settings import TRAINER_VERSION, ProcessSettings

TUNING_MODULE = "trainer.training.tuning.job"
"""The module that measures one task."""
FOLDS = 5


class TuningTask(BaseModel):
    """One set of settings, to be measured on all folds with each seed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    settings: Hyperparameters
    seeds: Annotated[tuple[int, ...], Field(min_length=1)]


class TuningPlan(BaseModel):
    """All that the processes of a search need: what is measured, and on which rows."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    trainer_version: Text = TRAINER_VERSION
    """The trainer that measures; another version's results are not comparable."""
    snapshot: Snapshot
    """The surveys; a training has read every one of them before."""
    site_sha256: Digest | None = None
    """SHA-256 of ``site.json`` as it was in that training; None if there was none."""
    folds: Annotated[int, Field(ge=2, le=100)] = FOLDS
    fold_seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Deals visits to folds: the same ones for every task."""
    tasks: Annotated[tuple[TuningTask, ...], Field(min_length=1)]

    @property
    def id(self) -> str:
        """The plan's name, also its Job's: a pod adds its index, and fits into a DNS label."""
        return f"{check_site(self.snapshot.site)}-tune-{canonical_digest(self)[:12]}"

    @property
    def key(self) -> str:
        """The plan's key in the artifact bucket."""
        return f"{self._folder}plan.json"

    def result_key(self, index: int) -> str:
        """The key of a task's result in the artifact bucket."""
        return f"{self._folder}{index}.json"

    @property
    def _folder(self) -> str:
        # Below runs/, where the agent's role may write.
        return f"sites/{check_site(self.snapshot.site)}/runs/{self.id}/"


class TuningResult(BaseModel):
    """The figures of one set of settings: means over its seeds and the rows of all folds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: Literal[1] = 1
    settings: Hyperparameters
    seeds: tuple[int, ...]
    rows: int
    exact_accuracy: float
    mean_error_m: float | None
    """None where the site's reference points have no positions."""

    @property
    def loss(self) -> float:
        """Lower is better: metres where there are positions, else the share of wrong answers."""
        return 1.0 - self.exact_accuracy if self.mean_error_m is None else self.mean_error_m


class TuningSettings(ProcessSettings):
    """The environment of the process that measures one task."""

    plan: Text
    """Key of the plan, in the artifact bucket."""
    index: Annotated[int, Field(ge=0, validation_alias="JOB_COMPLETION_INDEX")]
    """Which task; in the variable that Kubernetes sets in each pod of an Indexed Job."""

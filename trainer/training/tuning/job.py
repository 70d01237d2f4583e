"""``python -m trainer.training.tuning.job``: measures one task of a search spread over processes.

It reads the plan and its surveys, measures the settings of its task on the folds, and writes the
result once. It may be started twice, at once or later: then it finds the result, or writes the same
one. It ends as a training does, with a log, an exit code and a note.
"""

import hashlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from aws.s3 import UNVERSIONED, Bucket, ObjectMissingError, StoreError
from events.manifests import SurveyRef
from trainer import logs
from trainer.training.errors import BadSplit, BadSurvey, Misconfigured, NotEnoughData, StaleSnapshot
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome
from trainer.training.job.stores import open_stores
from trainer.training.reading.site_description import SiteDescription, parse_site
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import TrainingSet, combine
from trainer.training.settings import TRAINER_VERSION, site_description_key
from trainer.training.tuning.folds import CrossValidation
from trainer.training.tuning.plan import TuningPlan, TuningSettings


@dataclass(frozen=True, slots=True)
class TuningJob:
    """One attempt at one task of a plan."""

    settings: TuningSettings
    data: Callable[[str], Bucket]
    """Opens a bucket of surveys by its name."""
    artifacts: Bucket
    log: FilteringBoundLogger

    def run(self) -> RunOutcome:
        """Measure, unless it was measured before.

        Raises:
            aws.s3.StoreUnavailableError: a store failed; the same task may be tried again.
        """
        try:
            return self._measure(self._plan())
        except BadSurvey as error:
            return RunOutcome(kind=OutcomeKind.BAD_DATA, reason=error.reason)
        except (NotEnoughData, BadSplit) as error:
            return RunOutcome(kind=OutcomeKind.NOT_ENOUGH_DATA, reason=str(error))
        except StaleSnapshot as error:
            return RunOutcome(kind=OutcomeKind.STALE_SNAPSHOT, reason=str(error))
        except Misconfigured as error:
            return RunOutcome(kind=OutcomeKind.MISCONFIGURED, reason=str(error))

    def _measure(self, plan: TuningPlan) -> RunOutcome:
        index = self.settings.index
        if index >= len(plan.tasks):
            raise Misconfigured(
                f"the plan {plan.id} has {len(plan.tasks)} tasks and no task {index}"
            )
        key = plan.result_key(index)
        if self.artifacts.exists(key):
            self.log.info("measured before", key=key)
            return RunOutcome(kind=OutcomeKind.SUCCEEDED)
        site = self._site(plan)
        folds = CrossValidation.of(self._rows(plan, site), site, plan.folds, plan.fold_seed)
        result = folds.measure(plan.tasks[index])
        self.artifacts.put_once(key, result.model_dump_json().encode())
        self.log.info("measured", key=key, loss=result.loss)
        return RunOutcome(kind=OutcomeKind.SUCCEEDED)

    def _plan(self) -> TuningPlan:
        key = self.settings.plan
        try:
            plan = TuningPlan.model_validate_json(self.artifacts.get(key).body)
        except ObjectMissingError as error:
            raise Misconfigured(f"the plan is missing: {error}") from error
        except ValidationError as error:
            raise Misconfigured(f"{key} is not a plan of this version: {error}") from error
        if plan.key != key:
            raise Misconfigured(f"{key} was changed: the key of its content is {plan.key}")
        if plan.trainer_version != TRAINER_VERSION:
            raise Misconfigured(
                f"the plan is for trainer version {plan.trainer_version}, but this image has "
                f"version {TRAINER_VERSION}: plan and measure with the same one"
            )
        return plan

    def _site(self, plan: TuningPlan) -> SiteDescription:
        name = plan.snapshot.site
        if plan.site_sha256 is None:
            return SiteDescription(name=name)
        key = site_description_key(name)
        body = self._get(plan.snapshot.surveys[0].bucket, key, UNVERSIONED)
        if hashlib.sha256(body).hexdigest() != plan.site_sha256:
            raise StaleSnapshot(f"{key} was changed since the release that the plan is made from")
        return parse_site(body).model_copy(update={"name": name})

    def _rows(self, plan: TuningPlan, site: SiteDescription) -> TrainingSet:
        # In the order of a training: the later of two contradictory surveys is the bad one.
        listed = sorted(plan.snapshot.surveys, key=lambda survey: (survey.uploaded_at, survey.key))
        return combine([*self._surveys(listed, site)], site)

    def _surveys(self, listed: list[SurveyRef], site: SiteDescription) -> Iterator[Survey]:
        for survey in listed:
            body = self._get(survey.bucket, survey.key, survey.version_id)
            if len(body) != survey.size:
                raise StaleSnapshot(
                    f"{survey.key} was overwritten, and its bucket keeps no versions"
                )
            yield read_survey(body, site, name=survey.key)

    def _get(self, bucket: str, key: str, version: str) -> bytes:
        try:
            return self.data(bucket).get(key, version).body
        except ObjectMissingError as error:
            raise StaleSnapshot(
                f"an object that the plan was made from is gone: {error}"
            ) from error


def main() -> int:
    """Measure the task that the environment names and return the exit code."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    log = logs.configure()
    try:
        settings = TuningSettings()
    except ValidationError as error:
        log.error("the environment does not describe a task", reason=str(error))  # noqa: TRY400
        return ExitCode.MISCONFIGURED
    log = log.bind(plan=settings.plan, index=settings.index)
    outcome = _outcome(settings, log)
    if settings.note_path:
        settings.note_path.write_bytes(outcome.note())
    log.info("ended", kind=outcome.kind, exit_code=int(outcome.exit_code), reason=outcome.reason)
    return outcome.exit_code


def _outcome(settings: TuningSettings, log: FilteringBoundLogger) -> RunOutcome:
    try:
        return _job(settings, log).run()
    except StoreError as error:
        log.warning("a store failed", reason=str(error))
        return RunOutcome(kind=OutcomeKind.TRY_AGAIN, reason=str(error))
    except Exception as error:  # The process's edge: it ends with an exit code, whatever the error.
        log.exception("crashed")
        return RunOutcome(kind=OutcomeKind.FAILED, reason=f"{type(error).__name__}: {error}")


def _job(settings: TuningSettings, log: FilteringBoundLogger) -> TuningJob:
    data, artifacts = open_stores(settings)
    return TuningJob(
        settings=settings,
        data=data,
        artifacts=artifacts,
        log=log,
    )


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    # Tearing MXNet and Polars down takes 0.3 s, and all results are in the bucket by now.
    os._exit(code)

"""One training process: reads its environment, runs the job, and reports the outcome three times.

In its log, by its exit code (`ExitCode`), and in a note at ``RSSI_TERMINATION_LOG``. The log is
stored with the release, or without a release under the same key, if the bucket allows it.
"""

import os
from datetime import UTC, datetime

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from aws.s3 import StoreError
from trainer import logs
from trainer.training.job.outcome import ExitCode, OutcomeKind, RunOutcome
from trainer.training.job.run_log import RunLog
from trainer.training.job.stores import open_stores
from trainer.training.job.training_job import TrainingJob
from trainer.training.settings import JobSettings


def main() -> int:
    """Run the job that the environment describes and return its exit code."""
    # MXNet reads it when it is imported; at this size one thread is the fastest (measured).
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    run_log = RunLog()
    log = logs.configure(run_log)
    try:
        settings = JobSettings()
    except ValidationError as error:
        log.error("the environment does not describe a run", reason=str(error))  # noqa: TRY400
        return ExitCode.MISCONFIGURED
    log = log.bind(
        run_id=settings.run_id, correlation_id=settings.correlation_id, attempt=settings.attempt
    )
    outcome, job = _attempt(settings, log, run_log)
    if settings.note_path:
        settings.note_path.write_bytes(outcome.note())
    log.info("ended", kind=outcome.kind, exit_code=int(outcome.exit_code), reason=outcome.reason)
    if job is not None and outcome.exit_code is not ExitCode.DONE:
        job.store_log()
    return outcome.exit_code


def _attempt(
    settings: JobSettings, log: FilteringBoundLogger, run_log: RunLog
) -> tuple[RunOutcome, TrainingJob | None]:
    """The outcome, and the job unless its clients could not even be made."""
    job = None
    try:
        job = _job(settings, log, run_log)
        return job.run(), job
    except StoreError as error:
        log.warning("a store failed", reason=str(error))
        return RunOutcome(kind=OutcomeKind.TRY_AGAIN, reason=str(error)), job
    except Exception as error:  # The process's edge: it ends with an exit code, whatever the error.
        log.exception("crashed")
        reason = f"{type(error).__name__}: {error}"
        return RunOutcome(kind=OutcomeKind.FAILED, reason=reason), job


def _job(settings: JobSettings, log: FilteringBoundLogger, run_log: RunLog) -> TrainingJob:
    data, artifacts = open_stores(settings)
    return TrainingJob(
        settings=settings,
        data=data,
        artifacts=artifacts,
        clock=lambda: datetime.now(UTC),
        log=log,
        log_so_far=run_log.content,
    )

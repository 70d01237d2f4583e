"""One training run, from a sealed snapshot to a claimed release.

It may be started twice at once, killed anywhere and started again: every attempt writes under its
own keys, and ``release.json``, put last and only if there is none, decides which attempt counts.
Nothing is trained unless every survey of the snapshot can be read. The live release is only
compared with; failing to read it does not end the run.
"""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from aws.s3 import UNVERSIONED, Bucket, ObjectMissingError, ObjectStream, StoreError
from events import names
from events.manifests import Artifact, Quarantine, Release, Snapshot, SurveyRef
from trainer.training.errors import BadSurvey, Misconfigured, NotEnoughData, StaleSnapshot
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.outcome import OutcomeKind, RunOutcome
from trainer.training.reading.site_description import (
    InvalidSiteError,
    SiteDescription,
    parse_site,
)
from trainer.training.settings import JobSettings, site_description_key

if TYPE_CHECKING:
    from trainer.training.job.pipeline import TrainingResult
    from trainer.training.reading.surveys import Survey
    from trainer.training.reports.provenance import ReportContext

LOG_FILE = "train.log"

_PARALLEL_DOWNLOADS = 8
_LARGE_BYTES = 4 * 1024 * 1024
"""Surveys of at least this size are read one at a time, as each takes memory and disk; small ones
mostly wait for the store."""
_CONTENT_TYPES = {
    "model.tar.gz": "application/gzip",
    "metrics.json": "application/json",
    "model-card.html": "text/html; charset=utf-8",
}
_LOG_TYPE = "application/x-ndjson"


@dataclass(frozen=True, slots=True, eq=False)
class _ReadSurvey:
    """A survey that could be read."""

    survey: "Survey"
    ref: SurveyRef
    sha256: str


@dataclass(frozen=True, slots=True)
class TrainingJob:
    """One attempt at one run."""

    settings: JobSettings
    data: Callable[[str], Bucket]
    """Opens a bucket of surveys by its name."""
    artifacts: Bucket
    clock: Callable[[], datetime]
    """The time in UTC."""
    log: FilteringBoundLogger
    log_so_far: Callable[[], bytes] = bytes
    """What this process has logged, to be stored with the release; empty if it is not kept."""

    def run(self) -> RunOutcome:
        """Train and claim the release, unless it is there or the data does not allow it.

        Raises:
            aws.s3.StoreUnavailableError: a store failed; the same run may be tried again.
        """
        if self.artifacts.exists(names.release_key(self.settings.run_id)):
            return self._already_released()
        try:
            return self._train_and_claim(self._snapshot())
        except NotEnoughData as error:
            return RunOutcome(kind=OutcomeKind.NOT_ENOUGH_DATA, reason=str(error))
        except StaleSnapshot as error:
            return RunOutcome(kind=OutcomeKind.STALE_SNAPSHOT, reason=str(error))
        except Misconfigured as error:
            return RunOutcome(kind=OutcomeKind.MISCONFIGURED, reason=str(error))

    def store_log(self) -> None:
        """Store the log of an attempt without a release under the key that a release's would have.

        Best effort: the store may be what failed. An existing log is not overwritten, as a claim
        whose answer was lost may have made a release that names it.
        """
        try:
            self.artifacts.put_once(self._key_of(LOG_FILE), self.log_so_far(), _LOG_TYPE)
        except StoreError as error:
            self.log.warning("the attempt's log could not be stored", reason=str(error))

    def _train_and_claim(self, snapshot: Snapshot) -> RunOutcome:
        hyperparameters, site = self._hyperparameters(), self._site(snapshot)
        # The later of two surveys that contradict each other is quarantined.
        listed = sorted(snapshot.surveys, key=lambda survey: (survey.uploaded_at, survey.key))
        self.log.info("reading surveys", surveys=len(listed))
        readings = self._read(listed, site)
        bad = [reading for reading in readings if isinstance(reading, Quarantine)]
        if bad:
            return self._quarantine_all(bad)
        good = [reading for reading in readings if not isinstance(reading, Quarantine)]
        with tempfile.TemporaryDirectory(prefix="rssi-run-") as folder:
            context = self._report_context(snapshot, good, site, Path(folder))
            surveys = [reading.survey for reading in good]
            try:
                result = self._train(surveys, site, hyperparameters, Path(folder), context)
            except BadSurvey as error:
                if error.survey_index is None:
                    raise
                return self._quarantine_all([self._quarantine(listed[error.survey_index], error)])
            return self._claim(self._release(snapshot, result, Path(folder)))

    def _snapshot(self) -> Snapshot:
        try:
            snapshot = Snapshot.model_validate_json(self.artifacts.get(self.settings.snapshot).body)
        except ObjectMissingError as error:
            raise Misconfigured(f"the snapshot is missing: {error}") from error
        except ValidationError as error:
            raise Misconfigured(f"{self.settings.snapshot} is not a snapshot: {error}") from error
        if snapshot.digest != self.settings.run_spec.snapshot:
            raise Misconfigured(
                f"{self.settings.snapshot} has the digest {snapshot.digest}, but the run requires "
                f"{self.settings.run_spec.snapshot}: it was changed after it was sealed"
            )
        return snapshot

    def _hyperparameters(self) -> Hyperparameters:
        try:
            return Hyperparameters.model_validate(self.settings.run_spec.hyperparameters)
        except ValidationError as error:
            raise Misconfigured(f"the run's hyperparameters can't be used: {error}") from error

    def _site(self, snapshot: Snapshot) -> SiteDescription:
        """The site as it was described when the run was named; by default a plain one."""
        sha256 = self.settings.run_spec.site_sha256
        if sha256 is None:
            return SiteDescription(name=self.settings.site)
        key = site_description_key(self.settings.site)
        try:
            body = self.data(snapshot.surveys[0].bucket).get(key).body
        except ObjectMissingError as error:
            raise StaleSnapshot(f"the site's description is gone: {error}") from error
        if hashlib.sha256(body).hexdigest() != sha256:
            raise StaleSnapshot(f"{key} was changed after the run was named")
        try:
            return parse_site(body).model_copy(update={"name": self.settings.site})
        except InvalidSiteError as error:
            raise Misconfigured(f"{key} does not describe a site: {error}") from error

    def _read(
        self, listed: Sequence[SurveyRef], site: SiteDescription
    ) -> "list[_ReadSurvey | Quarantine]":
        """Read every survey, so that one run finds all bad ones."""
        with (
            # In /tmp or TMPDIR, the only places where the container may write.
            tempfile.TemporaryDirectory(prefix="rssi-surveys-") as folder,
            ThreadPoolExecutor(_PARALLEL_DOWNLOADS) as parallel,
            ThreadPoolExecutor(1) as serial,
        ):
            readings = [
                (parallel if survey.size < _LARGE_BYTES else serial).submit(
                    self._read_one, survey, site, Path(folder) / str(place)
                )
                for place, survey in enumerate(listed)
            ]
            try:
                return [reading.result() for reading in readings]
            finally:
                # After one download failed, the ones that have not begun are pointless.
                for reading in readings:
                    reading.cancel()

    def _read_one(
        self, survey: SurveyRef, site: SiteDescription, path: Path
    ) -> "_ReadSurvey | Quarantine":
        from trainer.training.reading.surveys import read_survey  # noqa: PLC0415 - Polars takes a second

        sha256 = self._download(survey, path)
        try:
            return _ReadSurvey(read_survey(path, site, name=survey.key), survey, sha256)
        except BadSurvey as error:
            return self._quarantine(survey, error)
        finally:
            path.unlink()

    def _quarantine(self, survey: SurveyRef, error: BadSurvey) -> Quarantine:
        return Quarantine(
            site=self.settings.site,
            survey=survey,
            reason=error.reason,
            run_id=self.settings.run_id,
        )

    def _download(self, survey: SurveyRef, path: Path) -> str:
        """Write the sealed version of a survey to ``path`` and return its SHA-256 in hex."""
        digest = hashlib.sha256()
        try:
            with self.data(survey.bucket).open(survey.key, survey.version_id) as stored:
                _check_sealed(survey, stored)
                with path.open("wb") as file:
                    for piece in stored.pieces:
                        digest.update(piece)
                        file.write(piece)
        except ObjectMissingError as error:
            raise StaleSnapshot(
                f"version {survey.version_id} of {survey.key} was deleted after the snapshot was "
                f"sealed: {error}"
            ) from error
        return digest.hexdigest()

    def _quarantine_all(self, bad: Sequence[Quarantine]) -> RunOutcome:
        for quarantine in bad:
            key = names.quarantine_key(self.settings.site, quarantine.survey.id)
            # The reason of an earlier attempt stays.
            self.artifacts.put_once(key, quarantine.model_dump_json(by_alias=True).encode())
            self.log.warning(
                "survey quarantined", survey=quarantine.survey.key, reason=quarantine.reason
            )
        return RunOutcome(
            kind=OutcomeKind.BAD_DATA,
            reason="; ".join(f"{found.survey.key}: {found.reason}" for found in bad),
            quarantined=tuple(found.survey.id for found in bad),
        )

    def _report_context(
        self, snapshot: Snapshot, good: Sequence[_ReadSurvey], site: SiteDescription, folder: Path
    ) -> "ReportContext":
        """What the reports contain besides the data."""
        from trainer.training.job import report_inputs  # noqa: PLC0415 - its libraries take a while

        champion = report_inputs.read_champion_and_log(
            self.artifacts, self.settings.site, folder, self.log
        )
        store = self.data(snapshot.surveys[0].bucket)
        return report_inputs.report_context(
            self.settings,
            snapshot,
            [(reading.ref, reading.sha256) for reading in good],
            champion,
            report_inputs.read_floor_plan(store, self.settings.site, site),
        )

    def _train(
        self,
        surveys: "list[Survey]",
        site: SiteDescription,
        hyperparameters: Hyperparameters,
        folder: Path,
        context: "ReportContext",
    ) -> "TrainingResult":
        from trainer.training.job.pipeline import train  # noqa: PLC0415 - its libraries take a second

        return train(
            surveys,
            site,
            hyperparameters,
            release_id=self.settings.run_id,
            out_dir=folder,
            progress=lambda message: self.log.info("progress", step=message),
            context=context,
        )

    def _release(self, snapshot: Snapshot, result: "TrainingResult", folder: Path) -> Release:
        """Upload the files and describe them; claiming the result makes them a release."""
        model, metrics, card = self._upload(folder)
        spec = self.settings.run_spec
        return Release(
            site=self.settings.site,
            run_id=self.settings.run_id,
            digest=result.digest,
            model=model,
            metrics_file=metrics,
            card=card,
            log=self._upload_log(),
            snapshot=snapshot,
            trainer_version=spec.trainer_version,
            image=self.settings.image,
            hyperparameters=spec.hyperparameters,
            site_sha256=spec.site_sha256,
            attempt=self.settings.attempt,
            metrics=result.metrics,
            smoke=result.smoke,
            correlation_id=snapshot.correlation_id,
            created_at=self.clock(),
        )

    def _upload(self, folder: Path) -> Iterator[Artifact]:
        for name, content_type in _CONTENT_TYPES.items():
            body = (folder / name).read_bytes()
            artifact = self._put(name, body, content_type)
            self.log.info("uploaded", key=artifact.key, bytes=artifact.size)
            yield artifact

    def _upload_log(self) -> Artifact | None:
        """The log so far; only the outcome of the claim comes after it."""
        return self._put(LOG_FILE, self.log_so_far(), _LOG_TYPE) if self.log_so_far() else None

    def _put(self, name: str, body: bytes, content_type: str) -> Artifact:
        key = self._key_of(name)
        digest = self.artifacts.put(key, body, content_type)
        return Artifact(key=key, sha256=digest, size=len(body))

    def _key_of(self, name: str) -> str:
        return names.attempt_key(self.settings.run_id, self.settings.attempt, name)

    def _claim(self, release: Release) -> RunOutcome:
        key = names.release_key(release.run_id)
        claimed = self.artifacts.put_once(key, release.model_dump_json(by_alias=True).encode())
        if not claimed and self._claimed_by() != release.attempt:
            return self._already_released()
        self.log.info("released", key=key, digest=release.digest)
        return RunOutcome(
            kind=OutcomeKind.SUCCEEDED, digest=release.digest, metrics=release.metrics
        )

    def _claimed_by(self) -> str:
        """The attempt that made the release: ours, if only the answer to our claim was lost."""
        key = names.release_key(self.settings.run_id)
        return Release.model_validate_json(self.artifacts.get(key).body).attempt

    def _already_released(self) -> RunOutcome:
        self.log.info("the run has a release already", attempt=self.settings.attempt)
        return RunOutcome(kind=OutcomeKind.ALREADY_RELEASED)


def _check_sealed(survey: SurveyRef, stored: ObjectStream) -> None:
    if (stored.etag, stored.size) != (survey.etag, survey.size):
        versions = " (the bucket keeps no versions)" * (survey.version_id == UNVERSIONED)
        raise StaleSnapshot(
            f"{survey.key} was overwritten after the snapshot was sealed{versions}: it has "
            f"{stored.size} bytes and the etag {stored.etag}, and the snapshot lists "
            f"{survey.size} bytes and {survey.etag}"
        )

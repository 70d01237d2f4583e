"""What an operator can ask of a stack and do with it.

Everything is read from buckets, ledger, endpoint and event log; nothing is kept here.
"""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path

from aws.s3 import Bucket
from events import names
from events.manifests import Quarantine, Release, SurveyRef
from events.stack import Stack
from events.triggers import Trigger
from functions.adapters.artifacts import Artifacts
from functions.adapters.ledger import Ledger
from functions.adapters.sagemaker import SageMakerControlPlane
from functions.core.deployments import Candidate, Deployment, DeploymentState
from functions.core.releases import ReleaseRecord
from ops.account.event_log import EventLog, LoggedEvent
from ops.account.prediction_client import (
    ATTEMPTS,
    Prediction,
    PredictionClient,
    PredictionError,
    PredictionRefusedError,
    SageMakerTransport,
)
from ops.account.read_models import ReleaseRow, SiteStatus, Trace
from ops.account.rollback_requests import RollbackRequests
from ops.account.session import AwsSession
from ops.errors import OpsError, UsageError

ENDED = frozenset({DeploymentState.LIVE, DeploymentState.FAILED, DeploymentState.SUPERSEDED})
DROP_ENDS = frozenset(
    {
        "DeploymentSucceeded",
        "DeploymentFailed",
        "DeploymentSuperseded",
        "RolledBack",
        "ReleaseRejected",
        "ReleaseHeld",
        "TrainingFailed",
    }
)
POLL_S = 0.2
CLOCK_SLACK = timedelta(minutes=1)
"""Largest expected difference between this machine's clock and the log's."""


class StackClient:
    """The operator's client of one stage's stack."""

    def __init__(self, aws: AwsSession, stack: Stack) -> None:
        self.aws = aws
        self.stack = stack

    @cached_property
    def ledger(self) -> Ledger:
        """The ledger of sites, releases and deployments."""
        return Ledger(self.aws.dynamodb, self.stack.ledger_table)

    @cached_property
    def artifacts(self) -> Artifacts:
        """The releases in their bucket."""
        return Artifacts(Bucket(self.aws.s3, self.stack.artifact_bucket))

    @cached_property
    def event_log(self) -> EventLog:
        """The log of every event on the bus."""
        return EventLog(self.aws.logs, self.stack.event_log)

    def endpoint_name(self, site: str) -> str:
        """The endpoint of a site."""
        return names.endpoint_name(self.stack.endpoint_prefix, site)

    def drop(self, site: str, files: Sequence[Path]) -> list[SurveyRef]:
        """Upload surveys; their content is checked by the training, not here.

        Raises:
            UsageError: a file can't be read; nothing was uploaded.
        """
        contents = [(file.name, _read(file)) for file in files]
        return [self.drop_bytes(site, name, content) for name, content in contents]

    def drop_bytes(self, site: str, name: str, content: bytes) -> SurveyRef:
        """Upload one survey under a name."""
        s3, bucket = self.aws.s3, self.stack.data_bucket
        key = names.surveys_prefix(site) + name
        version = s3.put_object(Bucket=bucket, Key=key, Body=content)["VersionId"]
        head = s3.head_object(Bucket=bucket, Key=key, VersionId=version)
        return SurveyRef(
            bucket=bucket,
            key=key,
            version_id=version,
            etag=head["ETag"].strip('"'),
            size=head["ContentLength"],
            uploaded_at=head["LastModified"],
        )

    def follow_drop(
        self,
        surveys: Sequence[SurveyRef],
        timeout_s: float,
        on_event: Callable[[LoggedEvent], None],
    ) -> LoggedEvent:
        """Wait until the dropped surveys are live or have failed, and return the last event.

        Raises:
            OpsError: neither happened in time.
        """
        ids, quarantined = {survey.id for survey in surveys}, set[str]()
        since = min(survey.uploaded_at for survey in surveys) - CLOCK_SLACK
        for event in self.event_log.follow(since, timeout_s=timeout_s):
            if event.text("correlation_id") not in ids:
                continue
            on_event(event)
            if event.detail_type == "SurveyQuarantined":
                survey = SurveyRef.model_validate(event.detail["survey"])
                quarantined |= {survey.id} & ids
            if event.detail_type in DROP_ENDS or quarantined == ids:
                return event
        raise OpsError(
            f"The survey was neither live nor refused after {timeout_s:.0f} s. Is an agent running "
            "for this stack? `rssi up` starts one; `rssi status` and `rssi events` show more."
        )

    def sites(self) -> list[str]:
        """Every site that has surveys or deployments."""
        return sorted({*filter(names.is_site, self._folders()), *self.ledger.sites()})

    def misnamed(self) -> list[str]:
        """Folders whose surveys are never trained, because their names are no sites' names."""
        return [folder for folder in self._folders() if not names.is_site(folder)]

    def _folders(self) -> list[str]:
        return [*Bucket(self.aws.s3, self.stack.data_bucket).folders("sites/")]

    def status(self, site: str) -> SiteStatus:
        """What is live at a site, and what is in progress there."""
        state = self.ledger.state(site)
        endpoint = self.endpoint_name(site)
        sagemaker = SageMakerControlPlane(self.aws.sagemaker)
        view = sagemaker.endpoint(endpoint)
        went_live = [
            deployment.changed_at
            for deployment in self.ledger.deployments(site)
            if deployment.state is DeploymentState.LIVE
        ]
        return SiteStatus(
            site=site,
            endpoint=endpoint,
            endpoint_status=view.status if view else "none",
            live=state.champion,
            live_since=went_live[-1] if went_live else None,
            previous_champion=state.previous_champion,
            in_flight=state.in_flight,
            waiting=state.waiting,
            paused=state.paused,
            frozen=state.frozen,
            drift=sagemaker.drift(state, endpoint) or None,
            rollback_request=state.rollback_request,
            held=tuple(self._undecided(site, state.champion)),
            surveys=len(self._survey_versions(site)),
            quarantined=tuple(self.quarantined(site)),
        )

    def _undecided(self, site: str, champion: Candidate | None) -> list[ReleaseRecord]:
        """Releases that wait for a decision; those that are older than what is live are moot."""
        records = self.ledger.releases(site)
        live = next((r for r in records if champion and r.run_id == champion.release), None)
        since = live.created_at if live else None
        return [
            record
            for record in records
            if record.verdict.is_undecided
            and (since is None or record.created_at is None or record.created_at > since)
        ]

    def releases(self, site: str) -> list[ReleaseRow]:
        """Every release of a site, oldest first."""
        champion = self.ledger.state(site).champion
        deployments = self.ledger.deployments(site)
        return [
            ReleaseRow(
                record=record,
                is_live=champion is not None and champion.release == record.run_id,
                deployments=tuple(
                    deployment.number
                    for deployment in deployments
                    if deployment.candidate.release == record.run_id
                ),
            )
            for record in self.ledger.releases(site)
        ]

    def quarantined(self, site: str) -> list[Quarantine]:
        """The quarantine records of a site's surveys."""
        bucket = Bucket(self.aws.s3, self.stack.artifact_bucket)
        found = bucket.objects(names.quarantine_prefix(site))
        return [Quarantine.model_validate_json(bucket.get(each.key).body) for each in found]

    def request_rollback(self, site: str, to: str | None, reason: str) -> str:
        """Request a rollback; returns the request's id.

        Raises:
            OpsError: it can't be done; the text says why.
        """
        return RollbackRequests(self.aws, self.stack, self.ledger, self.artifacts).make(
            site, to, reason
        )

    def follow_rollback(
        self,
        site: str,
        request_id: str,
        timeout_s: float,
        on_state: Callable[[Deployment], None],
    ) -> Deployment:
        """Wait until a requested rollback has ended, and return its deployment.

        Raises:
            OpsError: it was refused, or had not ended in time.
        """
        deadline = time.monotonic() + timeout_s
        shown: DeploymentState | None = None
        while time.monotonic() < deadline:
            deployment = self._deployment_of(site, Trigger.rollback_request(request_id))
            if deployment is None:
                self._raise_if_refused(site, request_id)
            elif deployment.state is not shown:
                shown = deployment.state
                on_state(deployment)
            if deployment is not None and deployment.state in ENDED:
                return deployment
            time.sleep(POLL_S)
        raise OpsError(
            f"The rollback had not ended after {timeout_s:.0f} s; it continues in the cloud. "
            f"`rssi status --site {site}` shows its state."
        )

    def predict(
        self, site: str, body: bytes, content_type: str, attempts: int = ATTEMPTS
    ) -> Prediction:
        """Predict by a site's endpoint, with ``attempts`` attempts at most.

        Raises:
            OpsError: there is no endpoint, or it refused the request; the reason is the endpoint's.
        """
        endpoint = self.endpoint_name(site)
        transport = SageMakerTransport(self.aws.sagemaker_runtime, endpoint)
        try:
            return PredictionClient(transport, attempts=attempts).send(body, content_type)
        except PredictionRefusedError:
            raise
        except PredictionError as error:
            raise OpsError(
                f"{error} `rssi status --site {site}` shows whether anything is live there."
            ) from error

    def trace(self, what: str) -> Trace:
        """Trace a release back to its surveys, or a survey forward to its releases.

        Args:
            what: a release id; or a survey's key, file name, version id or correlation id.

        Raises:
            OpsError: nothing has that name.
        """
        try:
            site = names.site_of_run(what)
        except names.InvalidNameError:
            return self._trace_survey(what)
        manifest = self.artifacts.manifest(what)
        if manifest is None:
            raise OpsError(
                f"No release {what} is in the bucket; `rssi releases --site {site}` lists them."
            )
        release = Release.model_validate_json(manifest.body)
        return Trace(
            survey=None,
            quarantine=None,
            releases=(release,),
            deployments=self._deployments_of(site, {what}),
        )

    def _trace_survey(self, what: str) -> Trace:
        for site in self.sites():
            releases = self._manifests(site)
            trained_on = [survey for release in releases for survey in release.snapshot.surveys]
            quarantined = self.quarantined(site)
            candidates = [*trained_on, *(entry.survey for entry in quarantined)]
            candidates += self._survey_versions(site)
            found = next((survey for survey in candidates if _is_called(survey, what)), None)
            if found is None:
                continue
            with_it = tuple(
                release
                for release in releases
                if any(survey.id == found.id for survey in release.snapshot.surveys)
            )
            return Trace(
                survey=found,
                quarantine=next((q for q in quarantined if q.survey.id == found.id), None),
                releases=with_it,
                deployments=self._deployments_of(site, {release.run_id for release in with_it}),
            )
        raise OpsError(
            f"Nothing is called {what}. Give a release id (`rssi releases --site S` lists them) or "
            "a survey's key, file name, version id or correlation id."
        )

    def _manifests(self, site: str) -> list[Release]:
        found = [self.artifacts.manifest(record.run_id) for record in self.ledger.releases(site)]
        return [Release.model_validate_json(manifest.body) for manifest in found if manifest]

    def _deployments_of(self, site: str, releases: Iterable[str]) -> tuple[Deployment, ...]:
        wanted = set(releases)
        return tuple(
            deployment
            for deployment in self.ledger.deployments(site)
            if deployment.candidate.release in wanted
        )

    def _survey_versions(self, site: str) -> list[SurveyRef]:
        bucket = Bucket(self.aws.s3, self.stack.data_bucket)
        return [
            SurveyRef(
                bucket=bucket.name,
                key=found.key,
                version_id=found.version_id,
                etag=found.etag,
                size=found.size,
                uploaded_at=found.modified,
            )
            for found in bucket.current(names.surveys_prefix(site))
            if not found.key.endswith("/")
        ]

    def _deployment_of(self, site: str, trigger: Trigger) -> Deployment | None:
        opened = self.ledger.opened_by(site, trigger)
        return self.ledger.deployment(site, opened.number) if opened else None

    def _raise_if_refused(self, site: str, request_id: str) -> None:
        since = datetime.now(UTC) - timedelta(hours=1)
        for event in self.event_log.read(since, site):
            if (
                event.detail_type == "RollbackRefused"
                and event.text("correlation_id") == request_id
            ):
                raise OpsError(f"Not rolled back: {event.text('reason')}.")


def instances_body(rows: Sequence[dict[str, float]]) -> bytes:
    """The JSON request for fingerprints (dBm by beacon)."""
    return json.dumps({"instances": list(rows)}).encode()


def _read(file: Path) -> bytes:
    if file.is_dir():
        raise UsageError(f"{file} is a folder: name the surveys in it, such as {file}/*.csv.")
    try:
        return file.read_bytes()
    except OSError as error:
        raise UsageError(
            f"{file} can't be read ({error.strerror}); nothing was uploaded."
        ) from error


def _is_called(survey: SurveyRef, what: str) -> bool:
    return what in (survey.id, survey.key, survey.version_id, survey.key.rsplit("/", 1)[-1])

"""The events that report a run on the bus. Pure.

Their readers have no access to the cluster, so each reason says what happened, what it means and
what to do next. A run succeeded if its release is there, however its process ended: one that was
killed just after its claim did succeed.
"""

from collections.abc import Sequence

from events.manifests import Quarantine, Release
from events.outbound import (
    Event,
    SurveyQuarantined,
    TrainingFailed,
    TrainingStarted,
    TrainingSucceeded,
)
from trainer.agent.core.runs import DEADLINE_EXCEEDED, RunState, RunStatus
from trainer.training.job.outcome import ExitCode

_TAIL_LINES = 20
_LINE_LENGTH = 500
"""With `_TAIL_LINES` and the reason this stays far below the 256 KB that PutEvents takes."""
_REASON_LENGTH = 4000

_MEANING = {
    ExitCode.BAD_DATA: (
        "surveys of the snapshot can't be used and were quarantined; the rest is trained next. "
        "Correct those surveys and upload them again"
    ),
    ExitCode.NOT_ENOUGH_DATA: (
        "the surveys are valid but too small to train on. Upload more labelled fingerprints"
    ),
    ExitCode.STALE_SNAPSHOT: (
        "a survey or the site's description changed before the run read it; the current version "
        "is trained next"
    ),
    ExitCode.TRY_AGAIN: (
        "the network or a store failed at every attempt. The run is tried again later; check the "
        "site's connection if this persists"
    ),
    ExitCode.MISCONFIGURED: (
        "the settings of the run or the description of its site are wrong. Correct what is named "
        "here; the run is not started again until then"
    ),
}

_IN_CLUSTER = {
    "OOMKilled": (
        "the training process needed more memory than it may have. Raise resources.limits.memory "
        "in the pod template; the run is then started again"
    ),
    "ImagePull": (
        "the trainer's image can't be pulled. Check its name and digest in the pod template, "
        "imagePullSecrets, and the route to the registry; the run is retried automatically"
    ),
    "InvalidImageName": "the trainer's image has no valid name. Correct it in the pod template",
    "PodSecurity": (
        "the namespace's Pod Security profile refused the training pod. Compare the namespace's "
        "labels, or whatever mutates pods there, with the profile named here"
    ),
    "exceeded quota": (
        "the namespace's resource quota has no room for the training pod. Raise the quota, or ask "
        "for less in the pod template; the run is retried automatically"
    ),
    "CreateContainerConfigError": (
        "the training pod refers to a missing Secret or ConfigMap. Create it, or correct "
        "the pod template"
    ),
    "FailedCreate": (
        "the cluster refused to create the training pod. Correct what it names here; the run is "
        "retried automatically"
    ),
    "Unschedulable": (
        "no node had room for the training pod. Add nodes, or ask for less in the pod template; "
        "the run is retried automatically"
    ),
    "Evicted": "the training pod was evicted from its node; the run is retried automatically",
}
"""What a word in the runner's reason means, and what to do. The first that matches counts."""
_OTHERWISE = "the cluster ended the run. The cause is not the data; Kubernetes' reason names it"


def started(status: RunStatus) -> TrainingStarted:
    """The event for a run's start."""
    spec = status.run.spec
    return TrainingStarted(
        site=spec.site,
        correlation_id=status.run.correlation_id,
        run_id=status.run.id,
        start=status.start or None,
        snapshot=spec.snapshot,
        surveys=status.run.surveys,
    )


def ended(
    status: RunStatus, release: Release | None, quarantined: Sequence[Quarantine]
) -> tuple[Event, ...]:
    """The events for a run's end.

    Args:
        status: its status.
        release: the run's release, if it has one.
        quarantined: the site's quarantine; what other runs put there is ignored.
    """
    found = [quarantine for quarantine in quarantined if quarantine.run_id == status.run.id]
    events = (quarantine_event(quarantine, status.run.correlation_id) for quarantine in found)
    return (*events, _failed(status) if release is None else _succeeded(status, release))


def quarantine_event(quarantine: Quarantine, correlation_id: str) -> SurveyQuarantined:
    """The event for a survey in quarantine."""
    return SurveyQuarantined(
        site=quarantine.site,
        correlation_id=correlation_id,
        survey=quarantine.survey,
        reason=quarantine.reason,
        run_id=quarantine.run_id,
    )


def _succeeded(status: RunStatus, release: Release) -> TrainingSucceeded:
    return TrainingSucceeded(
        site=release.site,
        correlation_id=status.run.correlation_id,
        run_id=release.run_id,
        start=status.start or None,
        digest=release.digest,
        metrics=release.metrics,
    )


def _failed(status: RunStatus) -> TrainingFailed:
    return TrainingFailed(
        site=status.run.spec.site,
        correlation_id=status.run.correlation_id,
        run_id=status.run.id,
        start=status.start or None,
        reason=_reason_of(status)[:_REASON_LENGTH],
        exit_code=status.exit_code,
        log_tail=tuple(line[:_LINE_LENGTH] for line in status.log_tail[-_TAIL_LINES:]),
    )


def _reason_of(status: RunStatus) -> str:
    note = status.outcome.reason if status.outcome else ""
    if status.state is RunState.SUCCEEDED:
        return (
            "the training process says that it succeeded, but its release is not in the artifact "
            "bucket: it was deleted, or the process wrote to another bucket. It is trained again"
        )
    if status.reason == DEADLINE_EXCEEDED:
        return (
            "the run was stopped because it took longer than its deadline. Raise the deadline, or "
            "look at the end of its log for the cause"
        )
    if status.reason:
        return f"{_meaning_of(status.reason)} (Kubernetes says: {status.reason})"
    if status.exit_code in _MEANING:
        return f"{_MEANING[ExitCode(status.exit_code)]}{': ' if note else ''}{note}"
    how = "no exit code" if status.exit_code is None else f"exit code {status.exit_code}"
    because = f": {note}" if note else ""
    return (
        f"the training process ended with {how}{because}. The cause is the code or its "
        "environment, not the data; see the end of its log. The run is started again once the "
        "trainer's image or the pod template changes"
    )


def _meaning_of(reason: str) -> str:
    return next((meaning for word, meaning in _IN_CLUSTER.items() if word in reason), _OTHERWISE)

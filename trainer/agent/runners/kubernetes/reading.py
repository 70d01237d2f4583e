"""Reads the state and the end of a run from its Job, the pods and their events. Pure.

Kubernetes scatters them: an exit code is in a pod's status, a deadline in a Job's condition, a
missing image in a container's waiting state, and a pod that Pod Security refused only in an event.
Pods are deleted before the Job, so what they show is kept in the Job's annotations in time.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from trainer.agent.core.runs import Announced, RunState, RunStatus, TrainingRun
from trainer.agent.errors import ForeignJobError
from trainer.agent.runners.kubernetes import manifest
from trainer.agent.runners.kubernetes.shapes import (
    Condition,
    Job,
    KubernetesEvent,
    Pod,
    Terminated,
    Waiting,
)
from trainer.training.job.outcome import RunOutcome

_CODE_IN_MESSAGE = re.compile(r"failed with exit code (\d+)")
_MESSAGE_LENGTH = 600
_NO_TROUBLE: Final = frozenset({"", "ContainerCreating", "PodInitializing"})
_OUT_OF_MEMORY = "OOMKilled"

Kept = TypeVar("Kept", bound=BaseModel)


class Trouble(BaseModel):
    """What keeps a run's pod from running: Kubernetes' reason and message."""

    model_config = ConfigDict(frozen=True)

    kind: str
    message: str = ""

    def __str__(self) -> str:
        """As one line."""
        return f"{self.kind}: {self.message}" if self.message else self.kind


class JobProgress(NamedTuple):
    """The progress of a Job that has not ended, by its pods."""

    running: bool
    trouble: Trouble | None


class Ending(BaseModel):
    """How a run ended, as it is kept in the Job's annotations."""

    model_config = ConfigDict(frozen=True)

    exit_code: int | None = None
    reason: str | None = None
    outcome: RunOutcome | None = None
    log_tail: tuple[str, ...] = ()
    ended_at: AwareDatetime | None = None


def run_of(job: Job) -> TrainingRun:
    """The run that a Job is for.

    Raises:
        ForeignJobError: the Job is not the agent's.
    """
    try:
        run = TrainingRun.model_validate_json(
            job.metadata.annotations.get(manifest.RUN_ANNOTATION, "")
        )
    except ValidationError as error:
        raise ForeignJobError(
            f"the Job {job.metadata.name} is not the agent's, or its annotation "
            f"{manifest.RUN_ANNOTATION} was changed: delete or rename it"
        ) from error
    if run.id != job.metadata.name:
        raise ForeignJobError(
            f"the Job {job.metadata.name} describes the run {run.id}: delete or rename it"
        )
    return run


def end_of(job: Job) -> Condition | None:
    """The condition that ended a Job; None while it is active.

    ``SuccessCriteriaMet`` and ``FailureTarget`` come earlier: its pods may still run then.
    """
    return job.condition("Complete") or job.condition("Failed")


def status_of(job: Job, ending: Ending | None, progress: JobProgress | None) -> RunStatus:
    """The status of a run.

    Args:
        job: its Job.
        ending: how it ended, if it has.
        progress: how its pods are, if it has not.
    """
    started = job.status.start_time or job.metadata.creation_timestamp
    common = {
        "run": run_of(job),
        "started_at": started,
        "announced": announced(job),
        "template": job.metadata.labels.get(manifest.TEMPLATE_LABEL, ""),
        "start": job.metadata.uid,
    }
    if ending is None:
        running = progress is not None and progress.running
        trouble = progress.trouble if progress else None
        return RunStatus(
            **common,
            state=RunState.RUNNING if running else RunState.PENDING,
            reason=str(trouble) if trouble else None,
        )
    succeeded = job.condition("Complete") is not None
    return RunStatus(
        **common,
        state=RunState.SUCCEEDED if succeeded else RunState.FAILED,
        exit_code=ending.exit_code,
        reason=ending.reason,
        outcome=ending.outcome,
        log_tail=ending.log_tail,
        ended_at=ending.ended_at,
    )


def announced(job: Job) -> Announced:
    """How much of the run has been reported."""
    reported = job.metadata.annotations.get(manifest.ANNOUNCED_ANNOTATION, "0")
    try:
        return Announced(int(reported))
    except ValueError:  # changed by hand; reporting twice is better than never
        return Announced.NOTHING


def kept_ending(job: Job) -> Ending | None:
    """How the run ended, as kept earlier."""
    return _kept(job, manifest.ENDING_ANNOTATION, Ending)


def kept_trouble(job: Job) -> Trouble | None:
    """What last kept the pod from running, as kept earlier."""
    return _kept(job, manifest.TROUBLE_ANNOTATION, Trouble)


def progress_of(job: Job, pods: Sequence[Pod], events: Sequence[KubernetesEvent]) -> JobProgress:
    """The progress of an active Job.

    Judged by the pods' phase, not the Job's ``ready``, which servers before 1.24 don't know.

    Args:
        job: a Job that has not ended.
        pods: its pods.
        events: events about it.
    """
    running = any(pod.status.phase == "Running" for pod in pods)
    return JobProgress(running, None if running else _trouble_of(job, pods, events))


def _trouble_of(job: Job, pods: Sequence[Pod], events: Sequence[KubernetesEvent]) -> Trouble | None:
    if job.spec.suspend:
        queue = job.metadata.labels.get(manifest.QUEUE_LABEL)
        return Trouble(
            kind="Suspended", message=f"waits for quota in the queue {queue}" if queue else ""
        )
    if pods:
        return _trouble_of_pod(_last(pods))
    refused = [event for event in events if event.reason == "FailedCreate"]
    if not refused:
        return None
    return Trouble(kind="FailedCreate", message=refused[-1].message[:_MESSAGE_LENGTH])


def ending_of(job: Job, end: Condition, pods: Sequence[Pod], log: str, tail_lines: int) -> Ending:
    """How a run ended.

    Args:
        job: the Job.
        end: the condition that ended it.
        pods: its pods, as far as they are still there.
        log: the end of the last pod's log; empty if it is gone.
        tail_lines: how many lines of it to keep.
    """
    pods = _relevant_pods(job, pods)
    terminated = _terminated(_last(pods)) if pods else None
    code = terminated.exit_code if terminated else _code_in(end)
    if end.type == "Complete":
        code = 0
    outcome = _outcome(terminated)
    output = log or (terminated.message if terminated and outcome is None else "")
    return Ending(
        exit_code=code,
        reason=None if end.type == "Complete" else _reason(job, end, pods, terminated),
        outcome=outcome,
        log_tail=tuple(output.splitlines()[-tail_lines:]),
        ended_at=_moment(job, end),
    )


def _relevant_pods(job: Job, pods: Sequence[Pod]) -> Sequence[Pod]:
    """The pods whose end explains the Job's.

    When one of several workers fails, the Job stops the others after it.
    """
    if (job.spec.completions or 1) == 1:
        return pods
    not_stopped = [pod for pod in pods if pod.metadata.deletion_timestamp is None]
    failed = [pod for pod in not_stopped if pod.status.phase == "Failed"]
    return failed or not_stopped or pods


def last_pod(pods: Sequence[Pod]) -> Pod | None:
    """The pod that ended last, else the youngest; None without pods."""
    return _last(pods) if pods else None


def _reason(
    job: Job, end: Condition, pods: Sequence[Pod], terminated: Terminated | None
) -> str | None:
    """Why it failed, if its exit code does not show it."""
    if end.reason == "DeadlineExceeded":
        trouble = kept_trouble(job)
        return f"{end.reason}: {trouble}" if trouble else end.reason
    if terminated is not None and terminated.reason == _OUT_OF_MEMORY:
        return _OUT_OF_MEMORY
    pod = _last(pods) if pods else None
    if pod is not None and pod.status.reason:
        return f"{pod.status.reason}: {pod.status.message}"[:_MESSAGE_LENGTH]
    if terminated is not None or _code_in(end) is not None:
        return None
    trouble = kept_trouble(job)
    if trouble is not None:
        return str(trouble)
    return f"{end.reason}: {end.message}" if end.message else end.reason or None


def _trouble_of_pod(pod: Pod) -> Trouble | None:
    waiting = _waiting(pod)
    if waiting is not None and waiting.reason not in _NO_TROUBLE:
        return Trouble(kind=waiting.reason, message=waiting.message[:_MESSAGE_LENGTH])
    for condition in pod.status.conditions or ():
        if condition.type == "PodScheduled" and condition.status == "False":
            return Trouble(
                kind=condition.reason or "Unschedulable",
                message=condition.message[:_MESSAGE_LENGTH],
            )
    return None


def _waiting(pod: Pod) -> Waiting | None:
    statuses = pod.status.container_statuses or ()
    return next((found.state.waiting for found in statuses if found.state.waiting), None)


def _terminated(pod: Pod) -> Terminated | None:
    statuses = pod.status.container_statuses or ()
    return next(
        (found.state.terminated for found in statuses if found.name == manifest.CONTAINER), None
    )


def _last(pods: Sequence[Pod]) -> Pod:
    """The pod that ended last, else the youngest."""

    def age(pod: Pod) -> tuple[bool, float]:
        terminated = _terminated(pod)
        ended = terminated.finished_at if terminated else None
        moment = ended or pod.metadata.creation_timestamp
        return (terminated is not None, moment.timestamp() if moment else 0.0)

    return max(pods, key=age)


def _code_in(end: Condition) -> int | None:
    """The exit code that a pod failure policy's condition quotes, when the pod is gone."""
    found = _CODE_IN_MESSAGE.search(end.message)
    return int(found[1]) if found else None


def _outcome(terminated: Terminated | None) -> RunOutcome | None:
    if terminated is None or not terminated.message:
        return None
    try:
        return RunOutcome.model_validate_json(terminated.message)
    except ValidationError:  # killed before it could leave a note: the log's end, most likely
        return None


def _moment(job: Job, end: Condition) -> datetime | None:
    return job.status.completion_time or end.last_transition_time


def _kept(job: Job, annotation: str, kind: type[Kept]) -> Kept | None:
    text = job.metadata.annotations.get(annotation)
    if text is None:
        return None
    try:
        return kind.model_validate_json(text)
    except ValidationError:  # changed by hand; it is determined again
        return None

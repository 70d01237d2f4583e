"""Runs numbered processes as one Indexed Job, beside the agent's own Jobs and by the same rules.

Its pods are those of a training run (template, Pod Security, identity), under another manager's
label, so the agent ignores these Jobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue, ValidationError
from structlog.typing import FilteringBoundLogger

from trainer.agent.core.limits import JobLimits
from trainer.agent.core.runs import RunState
from trainer.agent.errors import ClusterError, ForeignJobError, RunnerError
from trainer.agent.runners.indexed import IndexedStatus, IndexedWork
from trainer.agent.runners.kubernetes import manifest, reading
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.runner import BATCH, CORE, dropped
from trainer.agent.runners.kubernetes.shapes import Condition, Job, JsonObject, KubernetesEvent, Pod
from trainer.agent.runners.kubernetes.template import PodTemplate

MANAGER = "rssi-tune"
WORK_ANNOTATION = "rssi-mlops/indexed-work"
"""The `IndexedWork`, as JSON."""
_TAIL_LINES = 20


def indexed_job_manifest(
    work: IndexedWork, pods: PodTemplate, limits: JobLimits, aws: Mapping[str, str]
) -> JsonObject:
    """The Job of such work, as it is sent to the API server.

    Args:
        work: the work.
        pods: what the cluster's owner decides about the pods.
        limits: what each number is allowed; the whole Job may take that long for each wave.
        aws: ``AWS_*`` variables without secrets.
    """
    labels: dict[str, JsonValue] = {
        "app.kubernetes.io/name": "rssi-trainer",
        manifest.MANAGED_BY: MANAGER,
        manifest.SITE_LABEL: work.site,
        manifest.RUN_LABEL: work.name,
        manifest.TEMPLATE_LABEL: pods.digest,
    }
    queue: dict[str, JsonValue] = {manifest.QUEUE_LABEL: pods.queue_name} if pods.queue_name else {}
    waves = -(-work.completions // work.parallelism)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": work.name,
            "labels": {**labels, **queue},
            "annotations": {WORK_ANNOTATION: work.model_dump_json()},
        },
        "spec": {
            "completionMode": "Indexed",
            "completions": work.completions,
            "parallelism": min(work.parallelism, work.completions),
            # A number that fails for good ends the Job: without it there is no result.
            "backoffLimitPerIndex": limits.backoff_limit,
            "maxFailedIndexes": 0,
            "activeDeadlineSeconds": limits.deadline_s * waves,
            "ttlSecondsAfterFinished": limits.keep_s,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {"rules": manifest.failure_rules()},
            "suspend": pods.queue_name is not None,
            "template": {
                "metadata": {
                    "labels": {**labels},
                    **({"annotations": {**pods.annotations}} if pods.annotations else {}),
                },
                "spec": manifest.pod_spec(
                    pods,
                    ("python", "-m", work.module),
                    manifest.variables(pods, {**aws, **work.environment}),
                ),
            },
        },
    }


@dataclass(frozen=True, slots=True)
class IndexedJobs:
    """Runs such work in one namespace; has no state of its own."""

    api: Api
    pods: PodTemplate
    limits: JobLimits
    aws: Mapping[str, str]
    """``AWS_*`` variables for the pods, without secrets."""
    log: FilteringBoundLogger

    def start(self, work: IndexedWork) -> None:
        """Create the work's Job, unless there is one for the same work.

        Raises:
            ForeignJobError: a Job of that name is not for this work.
            RunnerError: the cluster refused it, or its last Job is still being deleted.
        """
        document = indexed_job_manifest(work, self.pods, self.limits, self.aws)
        made = self.api.create_once(self.api.path(BATCH, "jobs"), document)
        if made is None:
            self._same_job(work)
            return
        lost = [*dropped(document, made)]
        if lost:
            self.log.warning("the API server dropped a part of the Job", fields=lost)

    def look(self, name: str) -> IndexedStatus | None:
        """The status of work; None if its Job is not in the cluster."""
        job = self._job(name)
        if job is None:
            return None
        _work_of(job)
        end = reading.end_of(job)
        pods = self._pods(name)
        if end is None:
            return self._job_progress(job, pods)
        if end.type == "Complete":
            return _status(job, RunState.SUCCEEDED)
        return self._failed(job, end, pods)

    def forget(self, name: str) -> None:
        """Delete the Job of ended work."""
        job = self._job(name)
        if job is None or reading.end_of(job) is None or job.metadata.deletion_timestamp:
            return
        only_it: dict[str, JsonValue] = {"uid": job.metadata.uid}
        options: JsonObject = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": only_it,
        }
        try:
            self.api.delete(self._path(name), options)
        except ClusterError as error:
            if error.status not in {404, 409}:
                raise

    def close(self) -> None:
        """Do nothing: Jobs go on by themselves."""

    def _same_job(self, work: IndexedWork) -> None:
        job = self._job(work.name)
        if job is None or job.metadata.deletion_timestamp:
            raise RunnerError(
                f"the last Job {work.name} is still being deleted: try again once it is gone"
            )
        if not work.is_same_as(_work_of(job)):
            raise ForeignJobError(f"the Job {work.name} was created for other work: delete it")

    def _job_progress(self, job: Job, pods: Sequence[Pod]) -> IndexedStatus:
        may_be_refused = not pods and not job.spec.suspend
        progress = reading.progress_of(job, pods, self._events(job) if may_be_refused else ())
        state = RunState.RUNNING if progress.running else RunState.PENDING
        return _status(job, state, str(progress.trouble) if progress.trouble else None)

    def _failed(self, job: Job, end: Condition, pods: Sequence[Pod]) -> IndexedStatus:
        failed = [pod for pod in pods if pod.status.phase == "Failed"]
        ending = reading.ending_of(job, end, failed, self._log_tail(failed), _TAIL_LINES)
        note = ending.outcome.reason if ending.outcome else ""
        code = f"exit code {ending.exit_code}" if ending.exit_code is not None else end.reason
        return _status(job, RunState.FAILED, note or ending.reason or code, ending.log_tail)

    def _job(self, name: str) -> Job | None:
        try:
            return self.api.read(Job, self._path(name))
        except ClusterError as error:
            if error.status == 404:
                return None
            raise

    def _pods(self, name: str) -> tuple[Pod, ...]:
        selector = f"{manifest.MANAGED_BY}={MANAGER},{manifest.RUN_LABEL}={name}"
        return self.api.list(Pod, self.api.path(CORE, "pods"), labelSelector=selector)[0]

    def _events(self, job: Job) -> list[KubernetesEvent]:
        events, _ = self.api.list(
            KubernetesEvent,
            self.api.path(CORE, "events"),
            fieldSelector="involvedObject.kind=Job,reason=FailedCreate",
        )
        return [event for event in events if event.involved_object.uid == job.metadata.uid]

    def _log_tail(self, pods: Sequence[Pod]) -> str:
        pod = reading.last_pod(pods)
        if pod is None:
            return ""
        path = self.api.path(CORE, "pods", f"{pod.metadata.name}/log")
        try:
            return self.api.text(path, container=manifest.CONTAINER, tailLines=str(_TAIL_LINES))
        except ClusterError as error:
            self.log.info("a log can't be read", pod=pod.metadata.name, reason=str(error))
            return ""

    def _path(self, name: str) -> str:
        return self.api.path(BATCH, "jobs", name)


def _status(
    job: Job, state: RunState, reason: str | None = None, log_tail: tuple[str, ...] = ()
) -> IndexedStatus:
    return IndexedStatus(
        name=job.metadata.name,
        state=state,
        succeeded=job.status.succeeded or 0,
        reason=reason,
        log_tail=log_tail,
    )


def _work_of(job: Job) -> IndexedWork:
    try:
        return IndexedWork.model_validate_json(job.metadata.annotations.get(WORK_ANNOTATION, ""))
    except ValidationError as error:
        raise ForeignJobError(
            f"the Job {job.metadata.name} is for something else, or its annotation "
            f"{WORK_ANNOTATION} was changed: delete or rename it"
        ) from error

"""Starts runs as Kubernetes Jobs, and reads their status from the cluster.

Has no state of its own: two agents, or one after another, see the same. It copes with an answer
that is lost after the Job was created, a Job of that name that is not the agent's, and pods
that are deleted before their end was read.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, JsonValue
from structlog.typing import FilteringBoundLogger

from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import JobLimits
from trainer.agent.core.runs import Announced, RunStatus, TrainingRun
from trainer.agent.errors import ClusterError, ForeignJobError, RunnerError
from trainer.agent.runners.kubernetes import manifest, reading
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.manifest import job_manifest
from trainer.agent.runners.kubernetes.reading import Ending, JobProgress, Trouble
from trainer.agent.runners.kubernetes.shapes import Job, JsonObject, KubernetesEvent, Pod
from trainer.agent.runners.kubernetes.template import PodTemplate

BATCH = "apis/batch/v1"
CORE = "api/v1"
_TAIL_LINES = 20
_LINE_LENGTH = 1000
_OURS = f"{manifest.MANAGED_BY}={manifest.MANAGER}"


@dataclass(slots=True)
class KubernetesRunner:
    """Runs training as batch/v1 Jobs in one namespace."""

    api: Api
    pods: PodTemplate
    limits: JobLimits
    job_template: JobTemplate
    aws: Mapping[str, str]
    """``AWS_*`` variables for the pods, without secrets."""
    log: FilteringBoundLogger
    _warned: set[str] = field(default_factory=set, init=False)

    @property
    def template(self) -> str:
        """The digest of the pod template."""
        return self.pods.digest

    def start(self, run: TrainingRun) -> None:
        """Create the run's Job, unless there is one for the same run.

        Raises:
            ForeignJobError: a Job of that name is not for this run.
            RunnerError: the cluster refused it, or the run's last Job is still being deleted.
        """
        document = job_manifest(run, self.pods, self.limits, self.job_template, self.aws)
        made = self.api.create_once(self.api.path(BATCH, "jobs"), document)
        if made is None:
            self._same_job(run)
            return
        self._compare(document, made)

    def runs(self) -> tuple[RunStatus, ...]:
        """Every run whose Job is in the cluster.

        The first call after a Job's end keeps how it ended in its annotations, before its pods go.
        """
        jobs = [*self._jobs()]
        active = [job for job in jobs if reading.end_of(job) is None]
        progress = self._progress(active)
        return tuple(
            reading.status_of(job, self._ending(job), progress.get(job.metadata.uid))
            for job in jobs
        )

    def mark_announced(self, run_id: str, announced: Announced) -> None:
        """Remember in the Job's annotations how much of the run has been reported."""
        try:
            self._annotate(run_id, manifest.ANNOUNCED_ANNOTATION, str(int(announced)))
        except ClusterError as error:
            # Deleted meanwhile, by a person or its TTL: then there is nothing to report.
            if error.status != 404:
                raise

    def forget(self, run_id: str) -> None:
        """Delete the Job of an ended run."""
        try:
            job = self.api.read(Job, self._path(run_id))
            if reading.end_of(job) is None or job.metadata.deletion_timestamp:
                return
            # Only this very Job: another agent may have created a new one by now.
            only_it: dict[str, JsonValue] = {"uid": job.metadata.uid}
            options: JsonObject = {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "propagationPolicy": "Background",
                "preconditions": only_it,
            }
            self.api.delete(self._path(run_id), options)
        except ClusterError as error:
            if error.status not in {404, 409}:
                raise

    def close(self) -> None:
        """Do nothing: Jobs go on without an agent."""

    def _jobs(self) -> Iterator[Job]:
        found, _ = self.api.list(Job, self.api.path(BATCH, "jobs"), labelSelector=_OURS)
        for job in found:
            try:
                reading.run_of(job)
            except ForeignJobError as error:
                self._warn_once(job.metadata.uid, "a Job is ignored", reason=str(error))
                continue
            yield job

    def _same_job(self, run: TrainingRun) -> None:
        """Check that the existing Job of that name is this run's, from an earlier attempt."""
        job = self.api.read(Job, self._path(run.id))
        if job.metadata.deletion_timestamp:
            raise RunnerError(
                f"the last Job of {run.id} is still being deleted; the run starts once it is gone"
            )
        if reading.run_of(job).spec != run.spec:
            raise ForeignJobError(
                f"the Job {run.id} was made for something else than this run, though it has its "
                "name: delete it"
            )

    def _compare(self, sent: JsonObject, made: JsonObject) -> None:
        """Warn once of fields that the server dropped: old servers don't know all."""
        lost = [*dropped(sent, made)]
        if lost:
            self._warn_once(
                f"dropped {lost}",
                "the API server dropped a part of the Job; runs work, but without what it is for",
                fields=lost,
            )

    def _progress(self, active: Sequence[Job]) -> dict[str, JobProgress]:
        """The progress of Jobs, by uid; trouble is kept, as its evidence is deleted."""
        if not active:
            return {}
        pods = self._pods_by_run(_OURS)
        podless = [job for job in active if not pods.get(job.metadata.name)]
        events = self._events() if any(not job.spec.suspend for job in podless) else ()
        progress: dict[str, JobProgress] = {}
        for job in active:
            about = [event for event in events if event.involved_object.uid == job.metadata.uid]
            seen = reading.progress_of(job, pods.get(job.metadata.name, ()), about)
            progress[job.metadata.uid] = seen
            self._keep_trouble(job, seen.trouble)
        return progress

    def _keep_trouble(self, job: Job, trouble: Trouble | None) -> None:
        kept = reading.kept_trouble(job)
        # Messages name a new pod each time; only the kind is compared.
        if (kept and kept.kind) == (trouble and trouble.kind):
            return
        if trouble:
            self.log.warning("a run can't begin", run_id=job.metadata.name, reason=str(trouble))
        self._annotate_if_there(job.metadata.name, manifest.TROUBLE_ANNOTATION, trouble)

    def _ending(self, job: Job) -> Ending | None:
        end = reading.end_of(job)
        if end is None:
            return None
        kept = reading.kept_ending(job)
        if kept is not None:
            return kept
        run_id = job.metadata.name
        pods = self._pods_by_run(f"{_OURS},{manifest.RUN_LABEL}={run_id}").get(run_id, ())
        log = self._log_tail(pods) if end.type == "Failed" else ""
        ending = reading.ending_of(job, end, pods, log, _TAIL_LINES)
        self._annotate_if_there(run_id, manifest.ENDING_ANNOTATION, ending)
        return ending

    def _annotate_if_there(self, run_id: str, annotation: str, value: BaseModel | None) -> None:
        try:
            self._annotate(run_id, annotation, value.model_dump_json() if value else None)
        except ClusterError as error:
            if error.status != 404:
                raise

    def _log_tail(self, pods: Sequence[Pod]) -> str:
        pod = reading.last_pod(pods)
        if pod is None:
            return ""
        path = self.api.path(CORE, "pods", f"{pod.metadata.name}/log")
        try:
            log = self.api.text(path, container=manifest.CONTAINER, tailLines=str(_TAIL_LINES))
        except ClusterError as error:
            # The pod or its node is gone; its status has to do.
            self.log.info("a log can't be read", run_id=pod.metadata.name, reason=str(error))
            return ""
        return "\n".join(line[:_LINE_LENGTH] for line in log.splitlines())

    def _pods_by_run(self, selector: str) -> dict[str, list[Pod]]:
        pods, _ = self.api.list(Pod, self.api.path(CORE, "pods"), labelSelector=selector)
        found: dict[str, list[Pod]] = {}
        for pod in pods:
            found.setdefault(pod.metadata.labels.get(manifest.RUN_LABEL, ""), []).append(pod)
        return found

    def _events(self) -> tuple[KubernetesEvent, ...]:
        events, _ = self.api.list(
            KubernetesEvent,
            self.api.path(CORE, "events"),
            fieldSelector="involvedObject.kind=Job,reason=FailedCreate",
        )
        return events

    def _annotate(self, run_id: str, annotation: str, value: str | None) -> None:
        self.api.patch(self._path(run_id), {"metadata": {"annotations": {annotation: value}}})

    def _path(self, run_id: str) -> str:
        return self.api.path(BATCH, "jobs", run_id)

    def _warn_once(self, key: str, what: str, **details: object) -> None:
        if key not in self._warned:
            self._warned.add(key)
            self.log.warning(what, **details)


def dropped(
    sent: JsonValue | JsonObject, made: JsonValue | JsonObject, at: str = ""
) -> Iterator[str]:
    """The fields that the server dropped from a document; it may change their values."""
    if isinstance(sent, Mapping):
        if not isinstance(made, Mapping):
            yield at
            return
        for name, value in sent.items():
            place = f"{at}.{name}" if at else name
            if name in made:
                yield from dropped(value, made[name], place)
            # Nothing, an empty list and False are what a missing field means as well.
            elif value:
                yield place
    elif isinstance(sent, list) and isinstance(made, list) and len(sent) == len(made):
        for index, (ours, theirs) in enumerate(zip(sent, made, strict=True)):
            yield from dropped(ours, theirs, f"{at}[{index}]")

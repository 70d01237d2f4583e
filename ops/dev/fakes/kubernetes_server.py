"""A fake API server: real HTTP, objects in memory, and faults on request.

For tests and measurements without a cluster. It knows Jobs, pods, events, Leases and access reviews
of one namespace, as far as the agent uses them. Nothing runs: `FakeApiServer.finish` does what a
kubelet and the Job controller would.
"""

import threading
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer

from ops.dev.fakes.kubernetes_http import ApiHttpServer, Fault, RecordedRequest
from ops.dev.fakes.kubernetes_store import Document, ObjectStore, now_text
from trainer.agent.runners.kubernetes.manifest import CONTAINER
from trainer.agent.runners.kubernetes.shapes import Job
from trainer.training.job.outcome import FINAL_FAILURES


@dataclass(slots=True)
class FakeApiServer(ObjectStore):
    """One namespace of a cluster that has an API and nothing else."""

    token: str | None = None
    """The only bearer token that is accepted; None accepts every one."""
    allowed: Callable[[str, str], bool] = lambda _verb, _resource: True
    """Answers an access review, by verb and resource."""
    faults: list[Fault] = field(default_factory=list)
    requests: list[RecordedRequest] = field(default_factory=list)
    logs: dict[str, str] = field(default_factory=dict)
    """The pods' logs, by name."""
    on_job: Callable[[str], None] = lambda _name: None
    """Called, from the request's thread, with the name of each Job that was created."""
    _server: ThreadingHTTPServer | None = field(default=None, init=False)
    _thread: threading.Thread | None = field(default=None, init=False)
    _port: int = field(default=0, init=False)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Begin to listen, on the same port as before if it has listened already."""
        self._server = ApiHttpServer(self._port, self)
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        """Refuse connections until `start`; what is stored stays."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._server = None
        with self._changed:
            self._changed.notify_all()

    @property
    def serving(self) -> bool:
        """Whether it takes requests."""
        return self._server is not None

    def jobs(self) -> tuple[Job, ...]:
        """Every Job that is stored."""
        with self._changed:
            return tuple(
                Job.model_validate(found)
                for (kind, _), found in self._objects.items()
                if kind == "jobs"
            )

    def manifest(self, job: str) -> Document:
        """A Job as it is stored."""
        return self._objects["jobs", job]

    def add_event(self, job: str, reason: str, message: str) -> None:
        """Record an event about a Job."""
        about = self._objects["jobs", job]["metadata"]
        document = {
            "metadata": {"name": f"{job}.{uuid.uuid4().hex[:8]}"},
            "involvedObject": {"kind": "Job", "name": job, "uid": about["uid"]},
            "reason": reason,
            "message": message,
        }
        self.create("events", document)

    def add_pod(self, job: str, status: Mapping[str, object]) -> str:
        """Put a pod of a Job into the cluster, as the Job controller does; returns its name."""
        name = f"{job}-{uuid.uuid4().hex[:5]}"
        labels = self._objects["jobs", job]["spec"]["template"]["metadata"]["labels"]
        self.create("pods", {"metadata": {"name": name, "labels": labels}, "status": {**status}})
        return name

    def set_status(self, job: str, **changes: object) -> None:
        """Change a Job's status."""
        self.patch("jobs", job, {"status": changes})

    def run(self, job: str) -> None:
        """Let a Job's pod run."""
        self.add_pod(job, {"phase": "Running"})
        self.set_status(job, active=1, ready=1, startTime=now_text())

    def finish(
        self, job: str, exit_code: int, *, message: str = "", reason: str = "", log: str = ""
    ) -> None:
        """Let a Job's pod end, and the Job with it, as its failure policy says.

        Args:
            job: the Job's name.
            exit_code: of the training container.
            message: its termination message.
            reason: the kubelet's word for the end, such as OOMKilled.
            log: its log.
        """
        ended = {
            "exitCode": exit_code,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "message": message,
            "finishedAt": now_text(),
        }
        status = {"name": CONTAINER, "state": {"terminated": ended}}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        pod = self.add_pod(job, {"phase": phase, "containerStatuses": [status]})
        self.logs[pod] = log
        if exit_code == 0:
            self.end(job, "Complete", "CompletionsReached")
        elif exit_code in FINAL_FAILURES and "podFailurePolicy" not in self.drops:
            message = f"Container {CONTAINER} for pod {self.namespace}/{pod} failed with exit code "
            rule = f"{exit_code} matching FailJob rule at index 0"
            self.end(job, "Failed", "PodFailurePolicy", message + rule)
        else:
            self.end(job, "Failed", "BackoffLimitExceeded", "Job has reached the specified limit")

    def finish_index(self, job: str, index: int, exit_code: int, *, message: str = "") -> None:
        """Let the pod of one number of an Indexed Job end, and the Job with it if it is time.

        Args:
            job: the Job's name.
            index: the number.
            exit_code: of the training container.
            message: its termination message.
        """
        ended = {"exitCode": exit_code, "message": message, "finishedAt": now_text()}
        status = {"name": CONTAINER, "state": {"terminated": ended}}
        phase = "Succeeded" if exit_code == 0 else "Failed"
        self.add_pod(job, {"phase": phase, "containerStatuses": [status]})
        if exit_code in FINAL_FAILURES:
            rule = f"exit code {exit_code} matching FailJob rule at index 0"
            self.end(job, "Failed", "PodFailurePolicy", f"The pod of index {index} failed, {rule}")
        elif exit_code == 0:
            stored = self.manifest(job)
            succeeded = stored["status"].get("succeeded", 0) + 1
            self.set_status(job, succeeded=succeeded)
            if succeeded == stored["spec"]["completions"]:
                self.end(job, "Complete", "CompletionsReached")

    def end(self, job: str, condition: str, reason: str, message: str = "") -> None:
        """Let a Job end with a condition: Complete or Failed."""
        now = now_text()
        early = "SuccessCriteriaMet" if condition == "Complete" else "FailureTarget"
        conditions = [
            {
                "type": kind,
                "status": "True",
                "reason": reason,
                "message": message,
                "lastTransitionTime": now,
            }
            for kind in (early, condition)
        ]
        completion = {"completionTime": now} if condition == "Complete" else {}
        self.set_status(job, active=0, ready=0, conditions=conditions, **completion)

    def take_fault(self, method: str, path: str) -> Fault | None:
        """The fault that applies to such a request, if one is left."""
        with self._changed:
            for fault in self.faults:
                if fault.method == method and fault.path in path and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

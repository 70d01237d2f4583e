"""A real cluster as the tests see it, and how they play its pods."""

import hashlib
import os
import time
from dataclasses import dataclass, field

import pytest
import structlog

from tests.agent.runner_contract import eventually
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import JobLimits
from trainer.agent.runners.kubernetes.access import find_access
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.indexed import MANAGER as INDEXED_MANAGER
from trainer.agent.runners.kubernetes.indexed import IndexedJobs
from trainer.agent.runners.kubernetes.manifest import CONTAINER, MANAGED_BY, MANAGER, RUN_LABEL
from trainer.agent.runners.kubernetes.permissions import Needed, is_allowed
from trainer.agent.runners.kubernetes.runner import BATCH, CORE, KubernetesRunner
from trainer.agent.runners.kubernetes.shapes import Job, Pod
from trainer.agent.runners.kubernetes.template import PodTemplate
from trainer.training.job.outcome import ExitCode

IMAGE = "registry.example/rssi-trainer@sha256:" + hashlib.sha256(b"image").hexdigest()
TEMPLATE = PodTemplate(image=IMAGE, service_account_name="default")
OURS = f"{MANAGED_BY} in ({MANAGER},{INDEXED_MANAGER})"
INDEX_LABEL = "batch.kubernetes.io/job-completion-index"
POD_WITHIN_S = 20.0


def api_of(kubeconfig: str) -> Api:
    return Api(find_access({"KUBECONFIG": kubeconfig}), time.sleep)


@dataclass
class Cluster:
    """The cluster, and who plays its pods."""

    kubeconfig: str
    api: Api
    player: Api | None
    """With which identity pods' statuses are played; None if nobody plays."""
    limits: JobLimits = field(default_factory=lambda: JobLimits(backoff_limit=0))

    def runner(self) -> KubernetesRunner:
        return KubernetesRunner(
            api=self.api,
            pods=TEMPLATE,
            limits=self.limits,
            job_template=JobTemplate(artifact_bucket="artifacts", image=IMAGE),
            aws={},
            log=structlog.get_logger(),
        )

    def indexed(self) -> IndexedJobs:
        return IndexedJobs(self.api, TEMPLATE, self.limits, {}, structlog.get_logger())

    def end(self, run_id: str, code: ExitCode) -> None:
        """Let the pod of a run end, as a kubelet tells it."""
        self._end_pod(f"{RUN_LABEL}={run_id}", code)

    def end_number(self, name: str, index: int, code: ExitCode) -> None:
        """Let the pod of one number end."""
        self._end_pod(f"{RUN_LABEL}={name},{INDEX_LABEL}={index}", code)

    def _end_pod(self, selector: str, code: ExitCode) -> None:
        if self.player is None:
            pytest.skip("nobody plays pods here: set RSSI_TEST_PODS or RSSI_TEST_ADMIN_KUBECONFIG")
        pod = self._pod_of(selector)
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        ended = {"exitCode": int(code), "reason": "Ended", "startedAt": now, "finishedAt": now}
        container = {
            "name": CONTAINER,
            "image": IMAGE,
            "imageID": "",
            "ready": False,
            "restartCount": 0,
            "state": {"terminated": ended},
        }
        phase = "Succeeded" if code is ExitCode.DONE else "Failed"
        self.player.patch(
            self.player.path(CORE, "pods", f"{pod}/status"),
            {"status": {"phase": phase, "containerStatuses": [container]}},
        )

    def _pod_of(self, selector: str) -> str:
        found: list[Pod] = []

        def there() -> bool:
            pods, _ = self.player.list(Pod, self.player.path(CORE, "pods"), labelSelector=selector)
            found[:] = [pod for pod in pods if pod.status.phase in {"Pending", "Running"}]
            return bool(found)

        eventually(there, POD_WITHIN_S)
        return found[0].metadata.name

    def jobs(self) -> tuple[Job, ...]:
        return self.api.list(Job, self.api.path(BATCH, "jobs"), labelSelector=OURS)[0]

    def clear(self) -> None:
        """Delete the Jobs of these tests, and wait until they are gone."""
        options = {"propagationPolicy": "Background"}
        for job in self.jobs():
            self.api.delete(self.api.path(BATCH, "jobs", job.metadata.name), options)
        eventually(lambda: not self.jobs())


def who_plays(api: Api) -> Api | None:
    wanted = os.environ.get("RSSI_TEST_PODS")
    if wanted == "none":
        return None
    admin = os.environ.get("RSSI_TEST_ADMIN_KUBECONFIG")
    player = api_of(admin) if admin else api
    may = is_allowed(player, Needed("patch", "", "pods", "status"))
    if wanted == "play" and not may:
        pytest.fail("RSSI_TEST_PODS says play, and this identity may not patch pods/status")
    return player if may else None

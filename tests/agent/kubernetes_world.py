"""A fake API server, the official client pointed at it, and the runner between them."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import structlog
import yaml
from structlog.testing import CapturingLogger

from ops.dev.fakes.kubernetes_server import FakeApiServer
from trainer.agent.core.job_template import JobTemplate
from trainer.agent.core.limits import JobLimits
from trainer.agent.runners.kubernetes.access import find_access
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.runner import KubernetesRunner
from trainer.agent.runners.kubernetes.template import PodTemplate
from trainer.training.job.outcome import ExitCode

IMAGE = "registry.example/rssi-trainer@sha256:" + hashlib.sha256(b"image").hexdigest()


def kubeconfig(folder: Path, server: FakeApiServer) -> Path:
    """Write a kubeconfig that leads to a fake API server."""
    path = folder / "kubeconfig"
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "c", "cluster": {"server": server.url}}],
        "users": [{"name": "u", "user": {"token": server.token or "any"}}],
        "contexts": [
            {"name": "x", "context": {"cluster": "c", "user": "u", "namespace": server.namespace}}
        ],
        "current-context": "x",
    }
    path.write_text(yaml.safe_dump(config))
    return path


@dataclass
class KubernetesWorld:
    """One fake cluster. Pauses between tries are remembered instead of being waited for."""

    folder: Path
    server: FakeApiServer = field(default_factory=FakeApiServer)
    pauses: list[float] = field(default_factory=list)
    said: CapturingLogger = field(default_factory=CapturingLogger)
    pods: PodTemplate = field(default_factory=lambda: PodTemplate(image=IMAGE))
    limits: JobLimits = field(default_factory=JobLimits)

    def __post_init__(self) -> None:
        self.server.start()
        self.log = structlog.wrap_logger(
            self.said, processors=[], wrapper_class=structlog.make_filtering_bound_logger("info")
        )

    def api(self, sleep: Callable[[float], object] | None = None, **changes) -> Api:
        kubeconfig(self.folder, self.server)
        access = find_access({"KUBECONFIG": str(self.folder / "kubeconfig")})
        return Api(access, sleep or self.pauses.append, random_share=lambda: 0.5, **changes)

    def runner(self, **changes) -> KubernetesRunner:
        return KubernetesRunner(
            api=changes.pop("api", None) or self.api(),
            pods=self.pods,
            limits=self.limits,
            job_template=JobTemplate(artifact_bucket="artifacts", image=self.pods.image),
            aws={"AWS_REGION": "eu-west-1"},
            log=self.log,
            **changes,
        )

    def end(self, run_id: str, code: ExitCode) -> None:
        self.server.finish(run_id, int(code))

    def lines(self) -> list[str]:
        """What was logged, by its event."""
        return [
            str(call.args[0] if call.args else call.kwargs["event"]) for call in self.said.calls
        ]

    def close(self) -> None:
        self.server.stop()

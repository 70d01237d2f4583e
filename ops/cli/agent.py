"""`rssi agent`: the on-prem agent, run anywhere; in a cluster, or beside a kubeconfig."""

import os
from pathlib import Path

from events.stack import stack_parameter
from ops.errors import OpsError


def run_agent(runner: str | None, pod_template: Path | None, namespace: str | None) -> None:
    """Run the agent in this process until Ctrl-C or SIGTERM.

    Args:
        runner: where training runs, ``process`` or ``kubernetes``; None as in the environment.
        pod_template: what the pods are, for Kubernetes.
        namespace: the Jobs' namespace.

    Raises:
        OpsError: it ended other than by being told to.
    """
    os.environ.update(agent_environment(os.environ.get("RSSI_STAGE", "dev")))
    chosen = {"RUNNER": runner, "POD_TEMPLATE": pod_template, "NAMESPACE": namespace}
    os.environ.update({f"RSSI_{name}": str(value) for name, value in chosen.items() if value})
    from trainer.agent.__main__ import main  # noqa: PLC0415 - only who runs it pays for it

    code = main()
    if code != 0:
        raise OpsError(f"The agent ended with exit code {code}; its last line says why.")


def agent_environment(stage: str) -> dict[str, str]:
    """What the agent should be told that nobody has told it: where the stage's stack is."""
    named = {"RSSI_STACK_PARAMETER", "RSSI_DATA_BUCKET"} & set(os.environ)
    return {} if named else {"RSSI_STACK_PARAMETER": stack_parameter(stage)}

"""The on-prem agent on an operator's machine: its settings, and a way to run it here."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import ValidationError

from events.stack import stack_parameter
from ops.errors import OpsError, UsageError

if TYPE_CHECKING:
    from trainer.agent.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class RunnerOptions:
    """Where training runs; None leaves what the environment says."""

    runner: str | None = None
    """``process`` or ``kubernetes``."""
    pod_template: Path | None = None
    namespace: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The agent's variables for what is given."""
        given = {
            "RSSI_RUNNER": self.runner,
            "RSSI_POD_TEMPLATE": self.pod_template,
            "RSSI_NAMESPACE": self.namespace,
        }
        return {name: str(value) for name, value in given.items() if value}


def run_agent(options: RunnerOptions, stage: str) -> None:
    """Run the agent in this process until Ctrl-C or SIGTERM.

    Raises:
        OpsError: it ended for another reason.
    """
    os.environ.update({**agent_environment(stage), **options.environment})
    from trainer.agent.__main__ import main  # noqa: PLC0415 - slow to import

    code = main()
    if code != 0:
        raise OpsError(f"The agent ended with exit code {code}; its last line says why.")


def agent_environment(stage: str) -> dict[str, str]:
    """Where the stage's stack is, unless the environment already names resources."""
    named = {"RSSI_STACK_PARAMETER", "RSSI_DATA_BUCKET"} & set(os.environ)
    return {} if named else {"RSSI_STACK_PARAMETER": stack_parameter(stage)}


def agent_settings(environment: dict[str, str]) -> "AgentSettings":
    """The agent's settings by this process's environment, with ``environment`` put into it.

    Raises:
        UsageError: they can't be used.
    """
    from trainer.agent.settings import AgentSettings  # noqa: PLC0415 - slow to import

    os.environ.update(environment)
    try:
        return AgentSettings()
    except ValidationError as error:
        raise UsageError(f"The agent's settings can't be used: {error}") from error

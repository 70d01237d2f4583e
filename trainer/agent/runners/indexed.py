"""Work for numbered processes, and the interface of a runner for it.

Shaped after Kubernetes' Indexed Jobs: all processes get the same settings, and each its number in
``JOB_COMPLETION_INDEX``. A number may be started more than once, so a process must check whether
its work is done.
"""

from typing import Annotated, Protocol

from pydantic import BaseModel, ConfigDict, Field

from events.manifests import Text
from events.names import Site
from trainer.agent.core.runs import RunState

INDEX_VARIABLE = "JOB_COMPLETION_INDEX"
"""Kubernetes' own name for a process's number."""
LONGEST_NAME = 57
"""A pod's host name is a DNS label: this, a hyphen and the number."""


class IndexedWork(BaseModel):
    """Work for several processes, named by its content."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=LONGEST_NAME)]
    site: Site
    module: Annotated[str, Field(pattern=r"^[a-z_]+(\.[a-z_]+)*$")]
    """The module that each process runs."""
    environment: dict[str, Text]
    """Variables without secrets, as they are stored in the clear."""
    completions: Annotated[int, Field(ge=1, le=10_000)]
    """How many numbers there are, from 0."""
    parallelism: Annotated[int, Field(ge=1)]
    """How many processes there are at once, at most."""

    def is_same_as(self, other: "IndexedWork") -> bool:
        """Whether it is the same work, at any parallelism."""
        return self == other.model_copy(update={"parallelism": self.parallelism})


class IndexedStatus(BaseModel):
    """The status of such work."""

    model_config = ConfigDict(frozen=True)

    name: str
    state: RunState
    succeeded: int = 0
    """How many numbers are done."""
    reason: str | None = None
    """Why it failed, or what keeps it from running."""
    log_tail: tuple[str, ...] = ()
    """The end of a failed process's log."""

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.state in {RunState.PENDING, RunState.RUNNING}


class IndexedRunner(Protocol):
    """Runs such work somewhere; methods may raise `trainer.agent.errors.RunnerError`.

    The work has succeeded when every number has, and failed as soon as one has for good.
    """

    def start(self, work: IndexedWork) -> None:
        """Start work, durably; work that is known already stays as it is.

        Raises:
            ForeignJobError: something else has its name.
        """

    def look(self, name: str) -> IndexedStatus | None:
        """The status of work; None if it is not known."""

    def forget(self, name: str) -> None:
        """Drop ended work, so that it can be started again; unknown or active work stays."""

    def close(self) -> None:
        """Release everything before the caller exits."""

"""The limits of a run, for each kind of runner. Pure, so settings load no client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobLimits:
    """The limits of a Kubernetes Job."""

    backoff_limit: int = 2
    """How often a failed pod is followed by another one."""
    deadline_s: int = 3600
    """How long a run may take with all its attempts; waiting for quota does not count."""
    keep_s: int = 7 * 24 * 3600
    """How long an ended Job is kept. It must outlast the longest absence of the agent, which
    reports the end only when it is back; and a run that failed for good is tried once more after
    it."""


@dataclass(frozen=True, slots=True)
class ProcessLimits:
    """The limits of a run in processes of one machine, named as in a Job's specification."""

    backoff_limit: int = 2
    """How often a failed attempt is followed by another one."""
    backoff_s: float = 1.0
    """Pause before the second attempt; each further one waits twice as long."""
    deadline_s: float = 3600.0
    """How long one attempt may take."""

"""What a Kubernetes Job is allowed; apart from its runner, so that settings load no client."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class JobLimits:
    """What a Job is allowed."""

    backoff_limit: int = 2
    """How often a failed pod is followed by another one."""
    deadline_s: int = 3600
    """How long a run may take with all its attempts; waiting for quota does not count."""
    keep_s: int = 7 * 24 * 3600
    """How long an ended Job is kept. It must outlast the longest absence of the agent, which
    has not told of the end before; and a run that failed for good is tried once more after it."""

"""Maps the setting ``runner`` to its implementation.

A new runner is a package with an ``open_backend`` and a line in `trainer.agent.settings.RUNNERS`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from threading import Event

from structlog.typing import FilteringBoundLogger

from trainer.agent.runners.runner import RunnerBackend
from trainer.agent.settings import RUNNERS, AgentSettings


@dataclass(frozen=True, slots=True)
class RunnerContext:
    """What a backend is made of."""

    settings: AgentSettings
    environment: Mapping[str, str]
    stop: Event
    log: FilteringBoundLogger
    on_change: Callable[[], None] = lambda: None
    """Called, from any thread, when a run has changed."""
    on_failure: Callable[[], None] = lambda: None
    """Called for every failed request."""


def open_backend(context: RunnerContext) -> RunnerBackend:
    """Make the backend that the settings name; sends no request yet.

    Raises:
        ConfigurationError: the runner's settings can't be used.
    """
    # Imported only when chosen: the Kubernetes client takes 0.5 s and 30 MB.
    module = import_module(RUNNERS[context.settings.runner])
    backend: RunnerBackend = module.open_backend(context)
    return backend

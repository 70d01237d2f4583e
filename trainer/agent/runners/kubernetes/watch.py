"""Watches Jobs, to wake the agent sooner than its next resync would.

The agent always lists Jobs to learn what happened. So a watch that ends (410 Gone, a restart) or
stalls in silence costs only time; it is started again after a growing pause.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event

from pydantic import ValidationError
from structlog.typing import FilteringBoundLogger

from trainer.agent.core.backoff import backoff_s
from trainer.agent.errors import ClusterError
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.manifest import MANAGED_BY, MANAGER
from trainer.agent.runners.kubernetes.runner import BATCH
from trainer.agent.runners.kubernetes.shapes import Job, WatchEvent

_OURS = f"{MANAGED_BY}={MANAGER}"
_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 60.0


@dataclass(slots=True)
class JobWatch:
    """Calls ``on_change`` whenever one of the agent's Jobs changes."""

    api: Api
    on_change: Callable[[], None]
    stop: Event
    log: FilteringBoundLogger
    lasts_s: int = 120
    """After this long the server ends a watch; one that is silent for longer has stalled."""
    grace_s: float = 10.0
    random_share: Callable[[], float] = field(default_factory=lambda: random.SystemRandom().random)

    def run(self) -> None:
        """Watch until stopped."""
        failures = 0
        while not self.stop.is_set():
            try:
                self._follow()
                failures = 0
            except ClusterError as error:
                failures += 1
                self.log.info("the watch on Jobs ended, beginning again", reason=str(error))
                pause_s = backoff_s(failures, _FIRST_PAUSE_S, _LONGEST_PAUSE_S, self.random_share())
                self.stop.wait(pause_s)

    def _follow(self) -> None:
        """List, then watch from there; again whenever the server ends a watch in order."""
        path = self.api.path(BATCH, "jobs")
        _, version = self.api.list(Job, path, labelSelector=_OURS)
        # For changes between two watches.
        self.on_change()
        while not self.stop.is_set():
            lines = self.api.watch(
                path,
                timeout_s=self.lasts_s,
                grace_s=self.grace_s,
                labelSelector=_OURS,
                resourceVersion=version,
                allowWatchBookmarks="true",
            )
            for line in lines:
                version = self._handle(line) or version
                if self.stop.is_set():
                    return

    def _handle(self, line: bytes) -> str | None:
        """Report a change, and return its version.

        Raises:
            ClusterError: the watch has ended, such as with 410 when its version is too old.
        """
        try:
            event = WatchEvent.model_validate_json(line)
        except ValidationError as error:
            raise ClusterError(
                f"an event of the watch can't be read: {error}", status=None
            ) from error
        if event.type == "ERROR":
            code = event.object.get("code")
            raise ClusterError(
                f"the watch was ended: {event.object.get('message')}",
                status=code if isinstance(code, int) else None,
            )
        if event.type != "BOOKMARK":
            self.on_change()
        metadata = event.object.get("metadata")
        version = metadata.get("resourceVersion") if isinstance(metadata, dict) else None
        return str(version) if version else None

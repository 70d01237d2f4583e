"""When to observe a site again. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from trainer.agent.core.observed import Listing
from trainer.agent.core.reconcile import (
    Debounce,
    Decision,
    NoAction,
    RetryAt,
    WaitForRun,
    WaitUntil,
)


@dataclass(slots=True)
class SiteSchedule:
    """What the controller remembers about a site; all of it can be lost without harm."""

    due: datetime | None = None
    """When to observe the site next; None waits for a message, a run's end or the resync."""
    debounce: Debounce | None = None
    waits_for_run: bool = False
    failures: int = 0
    """How many observations have failed in a row."""
    last_start: datetime | None = None
    settled: Listing | None = None
    """The listing that left nothing to do."""
    settled_until: datetime | None = None
    """From then on the site is observed in full although its listing is unchanged."""

    def settled_listing(self, now: datetime) -> Listing | None:
        """The listing that needs no further look now, if there is one."""
        is_fresh = self.settled_until is not None and now < self.settled_until
        return self.settled if is_fresh else None

    def follow(
        self, decision: Decision, listing: Listing, now: datetime, settled_for: timedelta
    ) -> None:
        """Schedule the next observation after a decision."""
        self.settled = listing if isinstance(decision, NoAction) else None
        self.settled_until = now + settled_for
        self.due = decision.moment if isinstance(decision, WaitUntil | RetryAt) else None
        self.waits_for_run = isinstance(decision, WaitForRun)

    def wake(self, now: datetime) -> None:
        """Have the site observed in full, now."""
        self.due = now
        self.settled = None


def due_sites(schedules: Mapping[str, SiteSchedule], now: datetime) -> list[str]:
    """Sites to observe now: the one whose last run started longest ago comes first."""
    due = [
        (schedule.last_start is not None, schedule.last_start or now, schedule.due, site)
        for site, schedule in schedules.items()
        if schedule.due and schedule.due <= now
    ]
    return [site for *_, site in sorted(due)]

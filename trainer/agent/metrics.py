"""The agent's Prometheus metrics, in a registry of their own."""

from collections import Counter as Tally
from collections.abc import Sequence
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from aws.s3 import StoreError
from trainer.agent.core.runs import RunState, RunStatus
from trainer.agent.errors import AgentError, RunnerError


class AgentMetrics:
    """Gauges and counters; times are Unix time or durations in seconds."""

    def __init__(self) -> None:
        """Begin with zeros."""
        self._registry = CollectorRegistry()
        self._queue_lag = self._gauge(
            "rssi_queue_lag_seconds",
            "How old the oldest of the last received messages was; 0 when none were there.",
        )
        self._runs = Gauge(
            "rssi_runs",
            "Runs that the cluster knows, by state.",
            ["state"],
            registry=self._registry,
        )
        self._reconciled = self._gauge(
            "rssi_last_successful_reconcile_timestamp_seconds",
            "When all sites were last looked at without an error.",
        )
        self._sites = self._gauge("rssi_sites", "Sites that were found.")
        self._leading = self._gauge("rssi_leading", "1 while this replica acts, 0 in stand-by.")
        self._expiry = self._gauge(
            "rssi_credentials_expiry_timestamp_seconds",
            "When the AWS credentials end; 0 if they never do.",
        )
        self._trouble = Counter(
            "rssi_border_errors",
            "Failed requests, by what they were sent to.",
            ["border"],
            registry=self._registry,
        )
        self._events = Counter(
            "rssi_events_published", "Events put on the bus, by kind.", ["kind"],
            registry=self._registry,
        )  # fmt: skip

    def received(self, lag_s: float) -> None:
        """Set the age, in seconds, of the oldest message that came; 0 if none did."""
        self._queue_lag.set(lag_s)

    def seen(self, runs: Sequence[RunStatus]) -> None:
        """Count the runs that the runner lists, by state."""
        by_state = Tally(status.state for status in runs)
        for state in RunState:
            self._runs.labels(state.value).set(by_state[state])

    def found(self, sites: int) -> None:
        """Set how many sites the agent cares for."""
        self._sites.set(sites)

    def reconciled(self, now: datetime) -> None:
        """Set when all sites were last observed without an error."""
        self._reconciled.set(now.timestamp())

    def leads(self, *, leading: bool) -> None:
        """Set whether this replica acts or stands by."""
        self._leading.set(leading)

    def credentials_end(self, moment: datetime | None) -> None:
        """Set when the credentials expire; None for never."""
        self._expiry.set(moment.timestamp() if moment else 0)

    def failed(self, border: str) -> None:
        """Count a failed request to kubernetes, runner, queue, bus or store."""
        self._trouble.labels(border).inc()

    def failed_with(self, error: AgentError | StoreError) -> None:
        """Count a failed request by its error."""
        match error:
            case StoreError():
                self.failed("store")
            case RunnerError():
                self.failed("runner")
            case _:
                self.failed("bus")

    def published(self, kind: str) -> None:
        """Count an event that was put on the bus."""
        self._events.labels(kind).inc()

    def text(self) -> bytes:
        """All metrics, in Prometheus' text format."""
        return generate_latest(self._registry)

    def _gauge(self, name: str, meaning: str) -> Gauge:
        return Gauge(name, meaning, registry=self._registry)

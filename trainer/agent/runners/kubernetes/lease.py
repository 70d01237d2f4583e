"""Leader election: of several agents, the holder of the Lease acts.

As in client-go, a lease counts as abandoned when it has not been renewed for its duration, by the
observer's own clock, so clocks need not agree. A holder that was suspended may act for a moment
after another replica took over. That is harmless, because every action is idempotent by its name:
the Lease only saves work.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from threading import Event, Thread
from typing import TYPE_CHECKING, Self

from structlog.typing import FilteringBoundLogger

from trainer.agent.errors import ClusterError
from trainer.agent.runners.kubernetes.api import Api
from trainer.agent.runners.kubernetes.shapes import JsonObject, Lease

if TYPE_CHECKING:
    from pydantic import JsonValue

COORDINATION = "apis/coordination.k8s.io/v1"
_TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a lease lasts, in seconds; client-go's own figures."""

    duration_s: float = 15.0
    """How long other replicas wait after the last renewal that they saw."""
    renew_within_s: float = 10.0
    """A holder that could not renew for so long has lost its leadership."""
    retry_s: float = 2.0
    """Between two attempts to take or renew it."""

    @classmethod
    def of(cls, duration_s: float) -> Self:
        """The same proportions for another duration."""
        return cls(duration_s, duration_s * 2 / 3, duration_s * 2 / 15)


@dataclass(frozen=True, slots=True)
class _SeenVersion:
    version: str
    at_s: float
    """By the monotonic clock."""


@dataclass(slots=True)
class LeaderLease:
    """One replica's view of the Lease."""

    api: Api
    name: str
    identity: str
    """Unique among replicas, such as the pod's name."""
    clock: Callable[[], datetime]
    monotonic: Callable[[], float]
    log: FilteringBoundLogger
    times: LeaseTimes = field(default_factory=LeaseTimes)
    lost: Event = field(default_factory=Event)
    """Set when this replica must no longer act."""
    _seen: _SeenVersion | None = field(default=None, init=False)
    _renewed_at_s: float = field(default=0.0, init=False)
    _keeper: Thread | None = field(default=None, init=False)
    _done: Event = field(default_factory=Event, init=False)

    def acquire(self, stop: Event, on_wait: Callable[[], None] = lambda: None) -> bool:
        """Wait until this replica leads; False if it is stopped before.

        Args:
            stop: ends the waiting.
            on_wait: called before each pause: this replica is in stand-by.
        """
        self.lost.clear()
        while not stop.is_set():
            if self.try_to_take():
                self._renewed_at_s = self.monotonic()
                return True
            on_wait()
            stop.wait(self.times.retry_s)
        return False

    def keep(self, on_lost: Callable[[], None]) -> None:
        """Renew the lease in the background until `release`; call ``on_lost`` when it is lost."""
        self._done.clear()
        self._keeper = Thread(target=self._keep, args=(on_lost,), name="lease", daemon=True)
        self._keeper.start()

    def release(self) -> None:
        """Stop renewing, and free the lease for the next replica."""
        self._done.set()
        if self._keeper:
            self._keeper.join()
            self._keeper = None
        if self.lost.is_set():
            return
        try:
            lease = self.api.read(Lease, self._path())
            if lease.spec.holder_identity == self.identity:
                self._write(lease, holder="", transitions=lease.spec.lease_transitions or 0)
        except ClusterError as error:
            self.log.info("the lease will run out by itself", reason=str(error))

    def try_to_take(self) -> bool:
        """Try once to take or renew the lease; False on an error or if another holds it."""
        try:
            return self._try_to_take()
        except ClusterError as error:
            if error.status != 409:  # another replica was faster
                self.log.warning("the lease can't be had, trying again", reason=str(error))
            return False

    def _try_to_take(self) -> bool:
        try:
            lease = self.api.read(Lease, self._path())
        except ClusterError as error:
            if error.status != 404:
                raise
            self.api.create(self.api.path(COORDINATION, "leases"), self._document("", 0))
            return True
        ours = lease.spec.holder_identity == self.identity
        if not ours and not self._abandoned(lease):
            return False
        self._write(lease, self.identity, (lease.spec.lease_transitions or 0) + (not ours))
        return True

    def _abandoned(self, lease: Lease) -> bool:
        if not lease.spec.holder_identity:
            return True
        now = self.monotonic()
        if self._seen is None or self._seen.version != lease.metadata.resource_version:
            self._seen = _SeenVersion(lease.metadata.resource_version, now)
            return False
        duration = lease.spec.lease_duration_seconds or self.times.duration_s
        return now - self._seen.at_s >= duration

    def _keep(self, on_lost: Callable[[], None]) -> None:
        while not self._done.wait(self.times.retry_s):
            if self.try_to_take():
                self._renewed_at_s = self.monotonic()
            elif self.monotonic() - self._renewed_at_s >= self.times.renew_within_s:
                self.log.warning("no longer leading: the lease could not be renewed in time")
                self.lost.set()
                on_lost()
                return

    def _write(self, lease: Lease, holder: str, transitions: int) -> None:
        document = self._document(lease.metadata.resource_version, transitions, holder)
        self.api.update(self._path(), document)

    def _document(self, version: str, transitions: int, holder: str | None = None) -> JsonObject:
        now = self.clock().strftime(_TIME)
        named: dict[str, JsonValue] = {"name": self.name, "namespace": self.api.namespace}
        return {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            # With its version: of two replicas that write at once, one gets 409.
            "metadata": {**named, **({"resourceVersion": version} if version else {})},
            "spec": {
                "holderIdentity": self.identity if holder is None else holder,
                "leaseDurationSeconds": max(int(self.times.duration_s), 1),
                "acquireTime": now,
                "renewTime": now,
                "leaseTransitions": transitions,
            },
        }

    def _path(self) -> str:
        return self.api.path(COORDINATION, "leases", self.name)

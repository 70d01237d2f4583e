"""The life of one SageMaker endpoint: its statuses, its traffic, and blue/green updates.

    Creating ─► InService ─► Updating ─► InService            on the new configuration
           └──► Failed               └─► RollingBack ─► InService            on the old one
                                                    └─► UpdateRollbackFailed

One operation runs at a time, in its own thread. Traffic shifts between fleets by one assignment,
and a fleet closes only after it has answered what it accepted, so an update drops no request.
"""

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from ops.local.errors import ChildFailedError, LocalCloudError, ServiceError
from ops.local.gateway.protocol import JsonObject
from ops.local.sagemaker.api import DataCaptureConfig
from ops.local.sagemaker.endpoint_process import ContainerRequest, ContainerResponse
from ops.local.sagemaker.fleet import Fleet, FleetClosedError
from ops.local.sagemaker.guardrails import TrafficStep

_ALARM_POLL = 0.1  # seconds between checks of the alarms during a bake
_IN_PROGRESS = frozenset({"Creating", "Updating", "SystemUpdating", "RollingBack", "Deleting"})


@dataclass(frozen=True, slots=True)
class EndpointRollout:
    """One endpoint configuration that is rolled out, and how.

    Attributes:
        config_name: the endpoint configuration.
        variant: its production variant's name.
        instances: the number of instances.
        image: the container image, for descriptions.
        make_fleet: makes the fleet without starting it; may raise ChildFailedError.
        steps: how the traffic shifts; the last step has all of it.
        clock_scale: factor on the steps' seconds.
        alarms: names of the alarms that roll an update back.
        deployment: the requested DeploymentConfig.
        capture: the data capture, if any.
    """

    config_name: str
    variant: str
    instances: int
    image: str
    make_fleet: Callable[[], Fleet]
    steps: Sequence[TrafficStep]
    clock_scale: float
    alarms: Sequence[str] = ()
    deployment: JsonObject | None = None
    capture: DataCaptureConfig | None = None


@dataclass(frozen=True, slots=True)
class DeploymentStage:
    """What a deployment is doing: a status of its variant, since when, and how far."""

    status: str
    since: float
    step: TrafficStep | None = None


@dataclass(frozen=True, slots=True)
class EndpointState:
    """What DescribeEndpoint and the events report; times are epoch seconds."""

    name: str
    arn: str
    status: str
    config_name: str
    created: float
    modified: float
    live: EndpointRollout
    pending: EndpointRollout | None
    pending_since: float
    failure_reason: str | None
    stage: DeploymentStage | None


@dataclass(frozen=True, slots=True)
class _Traffic:
    """Where requests go: to ``green`` with probability ``share``, else to ``blue``."""

    blue: Fleet
    green: Fleet | None = None
    share: float = 0.0

    def pick(self) -> Fleet:
        if self.green is not None and random.random() < self.share:  # noqa: S311 - a traffic split
            return self.green
        return self.blue


Announce = Callable[[EndpointState], None]
AlarmsFiring = Callable[[Sequence[str]], list[str]]


class _AlarmFiringError(LocalCloudError):
    """An alarm fired while the new fleet had traffic."""


class Endpoint:
    """One endpoint.

    Args:
        name: its name.
        arn: its ARN.
        rollout: its first configuration.
        announce: called after each change of status, and for each bake of a deployment.
        alarms_firing: which of some alarms are in ALARM.
    """

    def __init__(
        self,
        name: str,
        arn: str,
        rollout: EndpointRollout,
        announce: Announce,
        alarms_firing: AlarmsFiring,
    ) -> None:
        self.name = name
        self.arn = arn
        self._announce = announce
        self._alarms_firing = alarms_firing
        self._lock = threading.Lock()
        self._status = "Creating"
        self._live = rollout
        self._pending: EndpointRollout | None = None
        self._pending_since = 0.0
        self._failure_reason: str | None = None
        self._stage: DeploymentStage | None = None
        self._traffic: _Traffic | None = None
        self._created = self._modified = time.time()
        self._closed = False

    def create(self) -> None:
        """Start creating it."""
        self._announce(self.state())
        self._in_background(self._create)

    def state(self) -> EndpointState:
        """The current state."""
        with self._lock:
            return EndpointState(
                name=self.name,
                arn=self.arn,
                status=self._status,
                config_name=self._live.config_name,
                created=self._created,
                modified=self._modified,
                live=self._live,
                pending=self._pending,
                pending_since=self._pending_since,
                failure_reason=self._failure_reason,
                stage=self._stage,
            )

    @property
    def serves(self) -> bool:
        """Whether any fleet has traffic."""
        return self._traffic is not None

    def pids(self) -> list[int]:
        """Process ids of the instances of the fleet in service."""
        traffic = self._traffic
        return traffic.blue.pids() if traffic else []

    def invoke(self, request: ContainerRequest) -> ContainerResponse:
        """Send a request to a fleet.

        Raises:
            ServiceError: the endpoint does not serve.
            ContainerTimeoutError: the container did not answer in time.
        """
        while True:
            traffic = self._traffic
            if traffic is None:
                raise ServiceError("ValidationError", f"Endpoint {self.name} is not in service.")
            try:
                return traffic.pick().invoke(request)
            except FleetClosedError:
                continue  # the traffic shifted after the fleet was picked

    def update(self, rollout: EndpointRollout) -> None:
        """Start a blue/green update.

        Raises:
            ServiceError: another operation is in progress, or the endpoint can't be updated.
        """
        with self._lock:
            self._refuse_in_progress()
            if self._status != "InService":
                raise ServiceError(
                    "ValidationException",
                    f'Cannot update endpoint "{self.arn}" in status {self._status}: delete it and '
                    "create it again.",
                )
            if rollout.variant != self._live.variant:
                raise ServiceError(
                    "ValidationException",
                    "The new endpoint configuration must keep the name of the production variant: "
                    f"{self._live.variant}.",
                )
            self._status = "Updating"
            self._pending, self._pending_since = rollout, time.time()
            self._modified = self._pending_since
            self._failure_reason = None
            self._stage = None
        self._announce(self.state())
        self._in_background(lambda: self._update(rollout))

    def scale(self, instances: int) -> None:
        """Start changing the number of instances.

        Raises:
            ServiceError: another operation is in progress, or nothing serves.
        """
        with self._lock:
            self._refuse_in_progress()
            traffic = self._traffic
            if traffic is None:
                raise ServiceError(
                    "ValidationException", f'Cannot update endpoint "{self.arn}" now.'
                )
            self._status, self._modified = "Updating", time.time()
        self._announce(self.state())
        self._in_background(lambda: self._scale(traffic.blue, instances))

    def delete(self) -> None:
        """Delete it; its processes end in the background.

        Raises:
            ServiceError: another operation is in progress.
        """
        with self._lock:
            self._refuse_in_progress()
            self._status = "Deleting"
            self._modified = time.time()
            traffic, self._traffic = self._traffic, None
        self._announce(self.state())
        if traffic:
            self._in_background(traffic.blue.close)

    def terminate(self) -> None:
        """End its processes at once, because the whole cloud ends."""
        self._closed = True
        traffic, self._traffic = self._traffic, None
        if traffic:
            traffic.blue.terminate()
            if traffic.green:
                traffic.green.terminate()

    def _refuse_in_progress(self) -> None:
        if self._status in _IN_PROGRESS:
            raise ServiceError(
                "ValidationException", f'Cannot update in-progress endpoint "{self.arn}".'
            )

    def _in_background(self, call: Callable[[], None]) -> None:
        threading.Thread(target=call, name=f"endpoint {self.name}", daemon=True).start()

    def _set_status(self, status: str, reason: str | None = None) -> None:
        with self._lock:
            if self._closed:
                return
            self._status = status
            self._failure_reason = reason
            self._stage = None
            self._modified = time.time()
        self._announce(self.state())

    def _create(self) -> None:
        try:
            fleet = self._live.make_fleet()
            fleet.start()
        except ChildFailedError as error:
            self._set_status("Failed", str(error))
            return
        self._traffic = _Traffic(fleet)
        self._set_status("InService")

    def _scale(self, fleet: Fleet, instances: int) -> None:
        try:
            fleet.resize(instances)
        except ChildFailedError as error:
            self._set_status("InService", str(error))
            return
        with self._lock:
            self._live = replace(self._live, instances=instances)
        self._set_status("InService")

    def _update(self, rollout: EndpointRollout) -> None:
        traffic = self._traffic
        if traffic is None:
            return  # the cloud was closed meanwhile
        blue = traffic.blue
        self._stage = DeploymentStage("Creating", time.time())
        try:
            green = rollout.make_fleet()
            green.start()
        except ChildFailedError as error:
            self._roll_back(blue, None, str(error))
            return
        try:
            self._shift(blue, green, rollout)
        except _AlarmFiringError as alarm:
            self._roll_back(blue, green, str(alarm))
            return
        self._commit(green, rollout)
        blue.close()

    def _shift(self, blue: Fleet, green: Fleet, rollout: EndpointRollout) -> None:
        """Shift the traffic in steps; an alarm ends each of them."""
        for step in rollout.steps:
            self._traffic = _Traffic(blue, green, step.share)
            self._stage = DeploymentStage("Baking", time.time(), step)
            if step.seconds:
                self._announce(self.state())
            self._bake(step.seconds * rollout.clock_scale, rollout.alarms)

    def _bake(self, seconds: float, alarms: Sequence[str]) -> None:
        deadline = time.monotonic() + seconds
        while True:
            alarms_firing = self._alarms_firing(alarms) if alarms else []
            if alarms_firing:
                raise _AlarmFiringError(
                    "Deployment was rolled back because one or more configured alarms are in "
                    f"ALARM state: {', '.join(alarms_firing)}."
                )
            remaining = deadline - time.monotonic()
            if remaining <= 0 or self._closed:
                return
            time.sleep(min(remaining, _ALARM_POLL))

    def _commit(self, green: Fleet, rollout: EndpointRollout) -> None:
        with self._lock:
            self._traffic = _Traffic(green)
            self._live, self._pending = rollout, None
        self._set_status("InService")

    def _roll_back(self, blue: Fleet, green: Fleet | None, reason: str) -> None:
        """Shift the traffic back to ``blue``; if that can't serve, keep both fleets."""
        self._set_status("RollingBack", reason)
        if not blue.wait_until_ready():
            self._set_status(
                "UpdateRollbackFailed", f"{reason} The old fleet does not serve either."
            )
            return
        with self._lock:
            self._traffic = _Traffic(blue)
            self._pending = None
        self._set_status("InService", reason)
        if green:
            green.close()  # requests that hang there for a minute hold nothing else up

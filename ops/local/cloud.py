"""The embedded cloud as a whole: its parts, its start and its end.

moto keeps its state in module globals, so a process runs one embedded cloud at a time, and each
starts with moto's state cleared.
"""

import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from ops.local.cloudwatch.alarm_monitor import AlarmMonitor
from ops.local.cloudwatch.metric_store import MetricStore
from ops.local.cloudwatch.moto_cloudwatch import MotoCloudWatch
from ops.local.deploy.deployer import Deployer, DeploymentResult
from ops.local.errors import AlreadyRunningError
from ops.local.events.api import EventTarget
from ops.local.events.event_delivery import EventDelivery
from ops.local.events.s3_events import S3Events
from ops.local.events.service import EventBridgeService
from ops.local.faults.active import Faults, FaultService
from ops.local.faults.kinds import PATH
from ops.local.gateway.bounded_state import BoundedState
from ops.local.gateway.clients import ServiceClients
from ops.local.gateway.front_door import FrontDoor
from ops.local.gateway.parameter_store import ParameterStore
from ops.local.gateway.protocol import JsonObject
from ops.local.gateway.serialized import SerializedApplication
from ops.local.gateway.state_services import state_services
from ops.local.lambdas.async_invocations import InvocationDestinations
from ops.local.lambdas.service import LambdaService
from ops.local.log_shipper import LogShipper
from ops.local.processes import Processes
from ops.local.sagemaker.environment import EndpointEnvironment
from ops.local.sagemaker.service import SageMakerService
from ops.local.settings import CloudSettings
from ops.local.timer import Timer

_running = threading.Lock()


class EmbeddedCloud:
    """Every AWS service that the stack uses, on one loopback address.

    It serves once constructed; use it as a context manager, or close it.

    Args:
        settings: the defaults suit one developer's machine.

    Raises:
        AlreadyRunningError: this process runs an embedded cloud already.
        OSError: the port is taken.
    """

    def __init__(self, settings: CloudSettings | None = None) -> None:
        self._settings = settings or CloudSettings()
        if not _running.acquire(blocking=False):
            raise AlreadyRunningError(
                "This process already runs an embedded cloud: close it first, or use its address."
            )
        try:
            self._front_door = FrontDoor(self._settings.port, self._settings.threads)
        except OSError:
            _running.release()
            raise
        self._start()

    @property
    def address(self) -> str:
        """The URL for ``AWS_ENDPOINT_URL``."""
        return self._front_door.address

    def environment(self) -> dict[str, str]:
        """Environment variables that make any AWS client use this cloud."""
        return self._settings.client_environment(self.address)

    def deploy(self, assembly: Path) -> DeploymentResult:
        """Deploy the stacks of a synthesized CDK assembly (``cdk.out``).

        Raises:
            AssemblyError: it can't be read, or needs what is not emulated; nothing is deployed.
        """
        return Deployer(self._clients, self._settings).deploy(assembly)

    def serving_pids(self, endpoint: str) -> list[int]:
        """Process ids of the instances that get an endpoint's traffic."""
        return self._sagemaker.pids(endpoint)

    def close(self) -> None:
        """End every process and stop serving."""
        self.faults.clear()
        self._alarms.close()
        self._bounds.close()
        self._timer.close()
        self._delivery.close()
        self._sagemaker.close()
        self._functions.close()
        self._processes.close()
        self._sagemaker.clean_up()
        self._logs.close()
        self._clients.close()
        self._front_door.close()
        _running.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _start(self) -> None:
        settings, clients = self._settings, ServiceClients(self.address, self._settings)
        self._clients = clients
        self._processes = Processes()
        self._timer = Timer()
        metrics = MetricStore()
        self._logs = LogShipper(clients, settings.logs_directory, metrics)
        self._delivery = EventDelivery(settings, clients, self._timer)
        self._bus = EventBridgeService(settings, self._delivery, self._timer)
        self._functions = LambdaService(
            settings,
            clients,
            self._processes,
            self._logs,
            self._timer,
            InvocationDestinations(settings, self._send_record, self._bus.publish),
        )
        self._delivery.connect(self._functions, self._bus.forward)
        moto, faults = state_services(), Faults()
        cloudwatch, self._bounds = MotoCloudWatch(settings), BoundedState(settings)
        self._sagemaker = SageMakerService(
            settings,
            EndpointEnvironment(
                clients, self._processes, self._logs, metrics, faults, cloudwatch.states
            ),
            self._bus.publish,
        )
        self.faults = FaultService(faults, self._sagemaker.live_config)
        self._front_door.open(
            services={
                "events": self._bus.service,
                "lambda": self._functions.service,
                "sagemaker": self._sagemaker.service,
                "ssm": ParameterStore(settings).service,
            },
            applications={
                "s3": S3Events(SerializedApplication(moto), self._bus.publish, settings),
                "dynamodb": SerializedApplication(moto),
            },
            fallback=moto,
            unsigned={PATH: self.faults},
            refuse=faults.refuse,
        )
        self._alarms = AlarmMonitor(
            settings, metrics, cloudwatch, self._bus.publish, self._send_record
        )

    def _send_record(self, arn: str, record: JsonObject) -> None:
        """Send a record to a queue, a topic or a function."""
        self._delivery.deliver(arn, EventTarget(id="destination", arn=arn), record)

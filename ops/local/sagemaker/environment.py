"""What endpoints need of the rest of the cloud."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ops.local.cloudwatch.metric_store import MetricStore
from ops.local.faults.active import Faults
from ops.local.gateway.clients import ServiceClients
from ops.local.log_shipper import LogShipper
from ops.local.processes import Processes


@dataclass(frozen=True, slots=True)
class EndpointEnvironment:
    """The parts of the cloud that endpoints use.

    Attributes:
        clients: for model archives.
        processes: starts the serving processes.
        logs: takes their output.
        metrics: takes the metrics of invocations.
        faults: what is to go wrong.
        alarm_states: the states of those alarms that exist.
    """

    clients: ServiceClients
    processes: Processes
    logs: LogShipper
    metrics: MetricStore
    faults: Faults
    alarm_states: Callable[[Sequence[str]], Mapping[str, str]]

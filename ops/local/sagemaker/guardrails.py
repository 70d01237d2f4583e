"""Deployment guardrails: the bounds that SageMaker sets, and the steps that traffic shifts in."""

import math
from dataclasses import dataclass

from ops.local.errors import ServiceError
from ops.local.sagemaker import api

_TERMINATION = "TerminationWaitInSeconds"
_INTERVAL = "WaitIntervalInSeconds"
_MINIMUM_PERCENT = {"LinearStepSize": 10, "MaximumBatchSize": 5}
_MAXIMUM_PERCENT = 50


@dataclass(frozen=True, slots=True)
class TrafficStep:
    """A share of the traffic goes to the new fleet for some time.

    Attributes:
        share: of the traffic, above 0 and up to 1.
        instances: of the new fleet that this share stands for.
        total: all instances of the new fleet.
        seconds: how long, on AWS.
        wait: the parameter that says so.
    """

    share: float
    instances: int
    total: int
    seconds: int
    wait: str

    @property
    def message(self) -> str:
        """What SageMaker says about the bake."""
        kind = "full" if self.share == 1 else "canary"
        return (
            f"Baking for {self.seconds} seconds ({self.wait}) with traffic enabled on {kind} "
            f"capacity of {self.instances} instance(s)."
        )


def traffic_steps(deployment: api.DeploymentConfig, instances: int) -> list[TrafficStep]:
    """The steps of a deployment; the last one has all of the traffic.

    Raises:
        ServiceError: the deployment breaks one of SageMaker's bounds.
    """
    blue_green, rolling = deployment.blue_green_update_policy, deployment.rolling_update_policy
    if blue_green and rolling:
        raise _refusal("specify either BlueGreenUpdatePolicy or RollingUpdatePolicy, not both")
    if rolling:
        batch = _checked("MaximumBatchSize", rolling.maximum_batch_size, instances)
        steps = _linear(batch, instances, rolling.wait_interval_in_seconds, 0)
        _check_total(steps, rolling.maximum_execution_timeout_in_seconds)
        return steps
    policy = blue_green or api.BlueGreenUpdatePolicy.all_at_once()
    steps = _blue_green_steps(policy, instances)
    _check_total(steps, policy.maximum_execution_timeout_in_seconds)
    return steps


def _blue_green_steps(policy: api.BlueGreenUpdatePolicy, instances: int) -> list[TrafficStep]:
    routing, termination = policy.traffic_routing_configuration, policy.termination_wait_in_seconds
    if routing.canary_size and routing.type != "CANARY":
        raise _refusal("CanarySize can only be specified when Type is CANARY")
    if routing.linear_step_size and routing.type != "LINEAR":
        raise _refusal("LinearStepSize can only be specified when Type is LINEAR")
    wait = routing.wait_interval_in_seconds
    if routing.type == "CANARY":
        size = _checked("CanarySize", routing.canary_size, instances)
        canary = TrafficStep(size / instances, size, instances, wait, _INTERVAL)
        return [canary, TrafficStep(1, instances, instances, termination, _TERMINATION)]
    if routing.type == "LINEAR":
        size = _checked("LinearStepSize", routing.linear_step_size, instances)
        return _linear(size, instances, wait, termination)
    return [TrafficStep(1, instances, instances, termination, _TERMINATION)]


def _linear(size: int, instances: int, wait: int, termination: int) -> list[TrafficStep]:
    steps = [
        TrafficStep(count / instances, count, instances, wait, _INTERVAL)
        for count in range(size, instances, size)
    ]
    return [*steps, TrafficStep(1, instances, instances, termination, _TERMINATION)]


def _checked(member: str, size: api.CapacitySize | None, instances: int) -> int:
    """The number of instances that a size means."""
    if size is None:
        raise _refusal(f"{member} must be specified")
    if instances < 2:
        raise _refusal(
            f"{member} needs a variant of at least 2 instances, because it may be at most "
            f"{_MAXIMUM_PERCENT} percent of them; the variant has {instances}"
        )
    percent = size.value if size.type == "CAPACITY_PERCENT" else 100 * size.value / instances
    minimum = _MINIMUM_PERCENT.get(member, 1)
    if not minimum <= percent <= _MAXIMUM_PERCENT:
        raise _refusal(
            f"{member} must be between {minimum} and {_MAXIMUM_PERCENT} percent of the variant's "
            f"{instances} instances; it is {percent:g}"
        )
    return max(1, math.floor(instances * percent / 100))


def _check_total(steps: list[TrafficStep], limit: int) -> None:
    total = sum(step.seconds for step in steps)
    if total >= limit:
        raise _refusal(
            f"MaximumExecutionTimeoutInSeconds ({limit}) must be larger than the total waiting "
            f"time ({total}) of {_INTERVAL} and {_TERMINATION}"
        )


def _refusal(reason: str) -> ServiceError:
    return ServiceError("ValidationException", f"Invalid DeploymentConfig: {reason}.")

"""The EventBridge events of endpoints, in the form of the samples in the SageMaker guide."""

import re
from collections.abc import Callable, Mapping

from ops.local.events.bus_event import BusEvent, bus_event
from ops.local.gateway.protocol import JsonObject
from ops.local.sagemaker.endpoint import EndpointRollout, EndpointState
from ops.local.settings import CloudSettings


def endpoint_event(
    settings: CloudSettings, state: EndpointState, tags: Mapping[str, str]
) -> BusEvent:
    """The event for a change of status or, if one is under way, for a deployment's bake.

    The two differ in how they write times and variants, as the documented samples do.
    """
    common: JsonObject = {
        "EndpointName": state.name,
        "EndpointArn": state.arn,
        "EndpointConfigName": state.config_name,
        "EndpointStatus": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", state.status).upper(),
        "Tags": dict(tags),
    }
    if state.failure_reason:
        common["FailureReason"] = state.failure_reason
    if state.pending is None or state.stage is None:
        detail: JsonObject = {
            **common,
            "ProductionVariants": [
                {"DesiredWeight": 1.0, "DesiredInstanceCount": float(state.live.instances)}
            ],
            "CreationTime": state.created * 1000,
            "LastModifiedTime": state.modified * 1000,
        }
        milliseconds = str(int(state.modified * 1000))
        kind = "SageMaker Endpoint State Change"
        return bus_event(settings, "aws.sagemaker", kind, detail, [state.arn], milliseconds)
    detail = {
        **common,
        "ProductionVariants": [_capacity(state.live)],
        "CreationTime": int(state.created * 1000),
        "LastModifiedTime": int(state.modified * 1000),
        "PendingDeploymentSummary": pending_summary(
            state, state.pending, lambda seconds: int(seconds * 1000)
        ),
    }
    kind = "SageMaker Endpoint Deployment State Change"
    return bus_event(settings, "aws.sagemaker", kind, detail, [state.arn])


def pending_summary(
    state: EndpointState, pending: EndpointRollout, moment: Callable[[float], float]
) -> JsonObject:
    """A deployment in progress; ``moment`` writes epoch seconds as the reader expects them."""
    variant = _capacity(pending)
    if stage := state.stage:
        status: JsonObject = {"Status": stage.status, "StartTime": moment(stage.since)}
        if stage.step:
            status["StatusMessage"] = stage.step.message
        variant["CurrentInstanceCount"] = stage.step.instances if stage.step else 0
        variant["VariantStatus"] = [status]
    return {
        "EndpointConfigName": pending.config_name,
        "StartTime": moment(state.pending_since),
        "ProductionVariants": [variant],
    }


def variant_summary(rollout: EndpointRollout) -> JsonObject:
    """A production variant as DescribeEndpoint shows it."""
    image: JsonObject = {"SpecifiedImage": rollout.image, "ResolvedImage": rollout.image}
    return {**_capacity(rollout), "DeployedImages": [image]}


def _capacity(rollout: EndpointRollout) -> JsonObject:
    return {
        "VariantName": rollout.variant,
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": rollout.instances,
        "DesiredInstanceCount": rollout.instances,
    }

"""The EventBridge events of endpoints, in the form of the samples in the SageMaker guide."""

import re
from collections.abc import Mapping

from ops.local.events.bus_event import BusEvent, bus_event
from ops.local.gateway.protocol import JsonObject
from ops.local.sagemaker.endpoint import EndpointRollout, EndpointState
from ops.local.settings import CloudSettings


def endpoint_event(
    settings: CloudSettings, state: EndpointState, step: str | None, tags: Mapping[str, str]
) -> BusEvent:
    """The event for a change of status, or for a ``step`` of a deployment.

    The two differ in how they write ``time``, as the documented samples do.
    """
    detail: JsonObject = {
        "EndpointName": state.name,
        "EndpointArn": state.arn,
        "EndpointConfigName": state.config_name,
        "ProductionVariants": [
            {"DesiredWeight": 1.0, "DesiredInstanceCount": float(state.live.instances)}
        ],
        "EndpointStatus": re.sub(r"(?<=[a-z])(?=[A-Z])", "_", state.status).upper(),
        "CreationTime": state.created * 1000,
        "LastModifiedTime": state.modified * 1000,
        "Tags": dict(tags),
    }
    if state.failure_reason:
        detail["FailureReason"] = state.failure_reason
    if step is None:
        milliseconds = str(int(state.modified * 1000))
        kind = "SageMaker Endpoint State Change"
        return bus_event(settings, "aws.sagemaker", kind, detail, [state.arn], milliseconds)
    if state.pending:
        detail["PendingDeploymentSummary"] = _pending(state, state.pending, step)
    kind = "SageMaker Endpoint Deployment State Change"
    return bus_event(settings, "aws.sagemaker", kind, detail, [state.arn])


def _pending(state: EndpointState, pending: EndpointRollout, step: str) -> JsonObject:
    started = int(state.pending_since * 1000)
    status: JsonObject = {"Status": step, "StartTime": started}
    return {
        "EndpointConfigName": pending.config_name,
        "StartTime": started,
        "ProductionVariants": [{**variant_summary(pending), "VariantStatus": [status]}],
    }


def variant_summary(rollout: EndpointRollout) -> JsonObject:
    """A production variant as DescribeEndpoint and the events show it."""
    return {
        "VariantName": rollout.variant,
        "DeployedImages": [{"SpecifiedImage": rollout.image, "ResolvedImage": rollout.image}],
        "CurrentWeight": 1.0,
        "DesiredWeight": 1.0,
        "CurrentInstanceCount": rollout.instances,
        "DesiredInstanceCount": rollout.instances,
    }

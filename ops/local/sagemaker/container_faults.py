"""Containers that misbehave on request: what a fault does to one invocation."""

import json
import signal
import time
from collections.abc import Sequence

from pydantic import JsonValue

from ops.local.faults.active import ActiveFault
from ops.local.faults.kinds import FaultType
from ops.local.sagemaker.endpoint_process import (
    ContainerRequest,
    ContainerResponse,
    ContainerTimeoutError,
    ServingProcess,
)

_EVERY = {FaultType.WRONG: 1, FaultType.WRONG_HALF: 2, FaultType.WRONG_TENTH: 10}
_SHIFT = 10.0  # added to numbers that can't be probabilities


def invoke_with_faults(
    instance: ServingProcess,
    request: ContainerRequest,
    faults: Sequence[ActiveFault],
    deadline: float,
) -> ContainerResponse:
    """Let an instance answer as its faults demand.

    Args:
        instance: the serving process.
        request: the request.
        faults: those of its configuration.
        deadline: when the invocation times out, in monotonic seconds.

    Raises:
        ContainerTimeoutError: it hangs.
        ContainerGoneError: it ended by itself.
    """
    wrong = False
    for fault in faults:
        kind = fault.request.kind
        if kind is FaultType.CRASH:
            instance.signal(signal.SIGKILL)
            return ContainerResponse(502, b"the container ended while it answered", {})
        if kind in {FaultType.HANG, FaultType.SLOW}:
            left = deadline - time.monotonic()
            seconds = fault.request.seconds if kind is FaultType.SLOW else left
            if not fault.cleared.wait(min(seconds, left)) and seconds >= left:
                raise ContainerTimeoutError("no response in time")
        if kind in _EVERY and next(fault.numbers) % _EVERY[kind] == 0:
            wrong = True
    response = instance.invoke(request, deadline)
    if not wrong or response.status != 200:
        return response
    return ContainerResponse(200, wrong_answer(response.body), response.headers)


def wrong_answer(body: bytes) -> bytes:
    """An answer in the same form that says something else in each of its lists."""
    try:
        answer = json.loads(body)
    except ValueError:
        return body[::-1]
    return json.dumps(_wrong(answer, in_list=False)).encode()


def _wrong(value: JsonValue, *, in_list: bool) -> JsonValue:
    if isinstance(value, dict):
        return {key: _wrong(member, in_list=in_list) for key, member in value.items()}
    if isinstance(value, list):
        return [_wrong(member, in_list=True) for member in value]
    if not in_list or isinstance(value, bool) or value is None:
        return value
    if isinstance(value, str):
        return value[::-1]
    return value / 2 if 0 < value <= 1 else value + _SHIFT

"""Sends the smoke test's requests in parallel; whatever happens, it ends within the budget.

The client that it is given must not retry: a retry would hide a failure, and a hanging container
would cost a multiple of its time-out.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from threading import Event
from typing import TYPE_CHECKING, Any

from functions.core.smoke import (
    EndpointResponse,
    ResultKind,
    SmokeBudget,
    SmokeRequest,
    SmokeResult,
)

if TYPE_CHECKING:
    from botocore.exceptions import ClientError
    from types_boto3_sagemaker_runtime import SageMakerRuntimeClient

PARALLEL = 8
_JSON = "application/json"


class SmokeClient:
    """Invokes one endpoint many times.

    Args:
        client: without retries, and with time-outs as the budget has them.
        budget: when to stop.
    """

    def __init__(
        self,
        client: "SageMakerRuntimeClient",
        budget: SmokeBudget,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._runtime = client
        self._budget = budget
        self._clock = clock

    def send(self, endpoint: str, requests: Sequence[SmokeRequest]) -> list[SmokeResult]:
        """Send the requests, and return what became of each that was sent.

        After a time-out no more are sent: the verdict is known.
        """
        stop = Event()

        def send_one(request: SmokeRequest) -> SmokeResult | None:
            if stop.is_set():
                return None
            result = self._invoke(endpoint, request)
            if result.kind is ResultKind.TIMED_OUT:
                stop.set()
            return result

        # Not as a context: that would wait for threads that the budget has given up.
        pool = ThreadPoolExecutor(PARALLEL, thread_name_prefix="smoke")
        futures: dict[Future[SmokeResult | None], SmokeRequest] = {
            pool.submit(send_one, request): request for request in requests
        }
        done, late = wait(futures, timeout=self._budget.total_s)
        stop.set()
        pool.shutdown(wait=False, cancel_futures=True)
        results = [result for future in done if (result := future.result()) is not None]
        return results + [self._timed_out(futures[future], self._budget.total_s) for future in late]

    def _invoke(self, endpoint: str, request: SmokeRequest) -> SmokeResult:
        # Loaded by now, through the client; importing this module alone should not cost it.
        from botocore.exceptions import (  # noqa: PLC0415
            BotoCoreError,
            ReadTimeoutError,
        )

        started = self._clock()
        try:
            answer = self._runtime.invoke_endpoint(
                EndpointName=endpoint, ContentType=_JSON, Accept=_JSON, Body=request.body
            )
            content = answer["Body"].read()
        except ReadTimeoutError:
            return self._timed_out(request, self._budget.request_s)
        except self._runtime.exceptions.ClientError as error:
            return _refused(request, error)
        except BotoCoreError as error:
            return SmokeResult(request, ResultKind.LOST, text=str(error))
        milliseconds = (self._clock() - started) * 1000
        try:
            response = EndpointResponse.model_validate_json(content)
        except ValueError as error:
            first = str(error).splitlines()[0]
            return SmokeResult(
                request,
                ResultKind.BROKEN,
                milliseconds,
                text=f"the endpoint's answer can't be read: {first}",
            )
        return SmokeResult(request, ResultKind.ANSWERED, milliseconds, response)

    def _timed_out(self, request: SmokeRequest, seconds: float) -> SmokeResult:
        text = f"the container does not answer within {seconds:g} s"
        return SmokeResult(request, ResultKind.TIMED_OUT, seconds * 1000, text=text)


def _refused(request: SmokeRequest, error: "ClientError") -> SmokeResult:
    """SageMaker reports the container's own status as that of a ModelError.

    Any other error but an endpoint that is missing is the service's, not the container's.
    """
    status: Any = error.response.get("OriginalStatusCode")
    code, text = error.response["Error"]["Code"], str(error)
    if code == "ModelError":
        is_refusal = status is not None and 400 <= int(status) < 500  # HTTP
        kind = ResultKind.REFUSED if is_refusal else ResultKind.BROKEN
    else:
        is_missing = "not found" in text.lower()
        kind = ResultKind.BROKEN if is_missing else ResultKind.LOST
    return SmokeResult(request, kind, text=f"the endpoint gave no answer: {text}")

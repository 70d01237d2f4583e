"""Micro-batching: one forward pass for all requests that arrive in one turn of the event loop.

A row has the same bits alone and in a batch, so batching shows nowhere in the answers. A large
request would delay all others, so it runs in a thread, as loading a model does; most of the model's
work releases Python's lock. If a model fails, each request of its batch is answered 500.
"""

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from trainer.serving.exchange import HttpRequest, HttpResponse, RequestRefusedError, error_response
from trainer.serving.formats.prediction_request import PredictionRequest, answer_batch
from trainer.serving.logs import log
from trainer.serving.metrics import WorkerCounters
from trainer.serving.models.service import BlockingCall, PredictionService, respond

METRICS = "/metrics"

_BATCHED_ROWS = 64
"""A request of more rows fills batches by itself."""
_LARGE_BODY_BYTES = 128 * 1024
"""Some 2,000 rows, which take longer than 10 ms: too long for the event loop."""
_LOGGED_REFUSALS = 20
"""Per second; more log lines would slow the server down."""

Respond = Callable[[HttpResponse], None]


class MicroBatcher:
    """Answers the requests of one worker's event loop."""

    def __init__(
        self,
        service: PredictionService,
        counters: WorkerCounters | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Pass requests to ``service``; ``counters`` is None where metrics are off."""
        self.counters = counters
        self.service = service
        self._loop = loop
        self._waiting: list[tuple[PredictionRequest, Respond]] = []
        # One thread each: two loads at once, or two large requests, would only share the time.
        self._blocking = ThreadPoolExecutor(1, thread_name_prefix="blocking")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large")
        self._second, self._refusals = 0, 0

    def submit(self, request: HttpRequest, done: Respond) -> None:
        """Answer a request, now or later, by one call of ``done``."""
        started = time.perf_counter()

        def finish(response: HttpResponse) -> None:
            self.record(request, response, time.perf_counter() - started)
            done(response)

        try:
            self._dispatch(request, finish)
        except RequestRefusedError as refusal:
            finish(refusal.response())
        except Exception as error:  # noqa: BLE001 - one failing request must not end the process
            finish(_failure(error))

    def record(self, request: HttpRequest, response: HttpResponse, seconds: float = 0.0) -> None:
        """Count a response, and log it if it is an error."""
        if response.status >= 400:
            self._log_refusal(request, response)
        if self.counters is not None:
            self.counters.count(response.status, seconds, response.rows)

    def _dispatch(self, request: HttpRequest, finish: Respond) -> None:
        if request.path == METRICS and self.counters is not None:
            finish(self._metrics(request))
            return
        # A compressed body may be large, and unpacking it takes time too.
        if len(request.body) > _LARGE_BODY_BYTES or "content-encoding" in request.headers:
            self._run_in_thread(self._large, lambda: respond(self.service, request), finish)
            return
        handled = self.service.handle(request)
        if isinstance(handled, PredictionRequest):
            if not self._waiting:
                self._loop.call_soon(self._answer_waiting)
            self._waiting.append((handled, finish))
        elif isinstance(handled, HttpResponse):
            finish(handled)
        else:
            self._run_in_thread(self._blocking, handled, finish)

    def _metrics(self, request: HttpRequest) -> HttpResponse:
        if request.method not in {"GET", "HEAD"} or self.counters is None:
            raise RequestRefusedError(
                405, f"{METRICS} takes GET.", headers=(("allow", "GET, HEAD"),)
            )
        text = self.counters.all.exposition(self.service.describe())
        return HttpResponse(200, text, "text/plain; version=0.0.4; charset=utf-8")

    def _run_in_thread(
        self, thread: ThreadPoolExecutor, call: BlockingCall, finish: Respond
    ) -> None:
        def completed(future: Future[HttpResponse]) -> None:
            self._loop.call_soon_threadsafe(finish, future.result())

        thread.submit(_guarded, call).add_done_callback(completed)

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        batches: dict[object, list[tuple[PredictionRequest, Respond]]] = {}
        for request, finish in waiting:
            alone = len(request.rssi) > _BATCHED_ROWS
            key = id(request) if alone else request.batch_key
            batches.setdefault(key, []).append((request, finish))
        for batch in batches.values():
            _answer(batch)

    def _log_refusal(self, request: HttpRequest, response: HttpResponse) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals <= _LOGGED_REFUSALS or response.status == 500:
            inference_id = request.headers.get("x-amzn-sagemaker-inference-id")
            log(
                "warning",
                "refused",
                path=request.path,
                status=response.status,
                body=response.body,
                inference_id=inference_id,
            )


def _answer(batch: list[tuple[PredictionRequest, Respond]]) -> None:
    """Answer requests of one batch key by one forward pass."""
    try:
        responses = answer_batch([request for request, _ in batch])
    except Exception as error:  # noqa: BLE001 - these requests fail, not all
        responses = [_failure(error)] * len(batch)
    for (_, finish), response in zip(batch, responses, strict=True):
        finish(response)


def _guarded(call: BlockingCall) -> HttpResponse:
    try:
        return call()
    except RequestRefusedError as refusal:
        return refusal.response()
    except Exception as error:  # noqa: BLE001 - the request has to be answered
        return _failure(error)


def _failure(error: Exception) -> HttpResponse:
    log("error", "request failed", error=repr(error))
    return error_response(500, "The server failed; its log says how.")

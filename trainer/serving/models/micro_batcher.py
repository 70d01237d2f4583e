"""Where a worker's requests meet its models: at once, together with others, or in a thread.

The rows of all requests that came in one turn of the event loop are answered by one forward pass;
a row's answer has the same bits alone and beside others, so nobody can tell. A large request would
keep all others waiting for as long as it takes, so it goes to a thread, as loading a model does;
the model's own work, most of it, lets the event loop go on beside it. What may go wrong: a model
that fails in the midst; then each of its requests hears 500, and the next turn goes on.
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
"""A request of more rows fills its own runs."""
_LARGE_BODY_BYTES = 128 * 1024
"""Some 2,000 rows: what takes longer than 10 ms waits in a line of its own."""
_LOGGED_REFUSALS = 20
"""Per second: beyond, who reads the log would be what slows the server."""

Finish = Callable[[HttpResponse], None]


class MicroBatcher:
    """PredictionColumns the requests of one worker's event loop."""

    def __init__(
        self,
        service: PredictionService,
        counters: WorkerCounters | None,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        """Answer with what ``service`` says; ``counters`` is None where metrics are off."""
        self.counters = counters
        self.service = service
        self._loop = loop
        self._waiting: list[tuple[PredictionRequest, Finish]] = []
        # One thread each: two loads at once, or two large requests, would only share the time.
        self._chores = ThreadPoolExecutor(1, thread_name_prefix="chores")
        self._large = ThreadPoolExecutor(1, thread_name_prefix="large")
        self._second, self._refusals = 0, 0

    def take(self, request: HttpRequest, done: Finish) -> None:
        """Answer a request, now or later, by one call of ``done``."""
        begun = time.perf_counter()

        def finish(reply: HttpResponse) -> None:
            self.note(request, reply, time.perf_counter() - begun)
            done(reply)

        try:
            self._take(request, finish)
        except RequestRefusedError as refusal:
            finish(refusal.reply())
        except Exception as error:  # noqa: BLE001 - the process's edge: one request must not end it
            finish(_failure(error))

    def note(self, request: HttpRequest, reply: HttpResponse, seconds: float = 0.0) -> None:
        """Count and, if it is a refusal, log an answer."""
        if reply.status >= 400:
            self._log_refusal(request, reply)
        if self.counters is not None:
            self.counters.count(reply.status, seconds, reply.rows)

    def _take(self, request: HttpRequest, finish: Finish) -> None:
        if request.path == METRICS and self.counters is not None:
            finish(self._metrics(request))
            return
        # What is packed may be large, and unpacking it takes time too.
        if len(request.body) > _LARGE_BODY_BYTES or "content-encoding" in request.headers:
            self._do(self._large, lambda: respond(self.service, request), finish)
            return
        taken = self.service.take(request)
        if isinstance(taken, PredictionRequest):
            if not self._waiting:
                self._loop.call_soon(self._answer_waiting)
            self._waiting.append((taken, finish))
        elif isinstance(taken, HttpResponse):
            finish(taken)
        else:
            self._do(self._chores, taken, finish)

    def _metrics(self, request: HttpRequest) -> HttpResponse:
        if request.method not in {"GET", "HEAD"} or self.counters is None:
            raise RequestRefusedError(
                405, f"{METRICS} takes GET.", headers=(("allow", "GET, HEAD"),)
            )
        text = self.counters.all.exposition(self.service.describe())
        return HttpResponse(200, text, "text/plain; version=0.0.4; charset=utf-8")

    def _do(self, thread: ThreadPoolExecutor, chore: BlockingCall, finish: Finish) -> None:
        def over(future: Future[HttpResponse]) -> None:
            self._loop.call_soon_threadsafe(finish, future.result())

        thread.submit(_guarded, chore).add_done_callback(over)

    def _answer_waiting(self) -> None:
        waiting, self._waiting = self._waiting, []
        together: dict[object, list[tuple[PredictionRequest, Finish]]] = {}
        for invocation, finish in waiting:
            alone = len(invocation.rssi) > _BATCHED_ROWS
            kind = id(invocation) if alone else invocation.kind
            together.setdefault(kind, []).append((invocation, finish))
        for group in together.values():
            _answer(group)

    def _log_refusal(self, request: HttpRequest, reply: HttpResponse) -> None:
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._refusals = second, 0
        self._refusals += 1
        if self._refusals <= _LOGGED_REFUSALS or reply.status == 500:
            inference_id = request.headers.get("x-amzn-sagemaker-inference-id")
            log(
                "warning",
                "refused",
                path=request.path,
                status=reply.status,
                body=reply.body,
                inference_id=inference_id,
            )


def _answer(group: list[tuple[PredictionRequest, Finish]]) -> None:
    """One forward pass for requests of one kind."""
    try:
        replies = answer_batch([invocation for invocation, _ in group])
    except Exception as error:  # noqa: BLE001 - the process's edge: these requests fail, not all
        replies = [_failure(error)] * len(group)
    for (_, finish), reply in zip(group, replies, strict=True):
        finish(reply)


def _guarded(chore: BlockingCall) -> HttpResponse:
    try:
        return chore()
    except RequestRefusedError as refusal:
        return refusal.reply()
    except Exception as error:  # noqa: BLE001 - a thread's edge: the request has to be answered
        return _failure(error)


def _failure(error: Exception) -> HttpResponse:
    log("error", "request failed", error=repr(error))
    return error_response(500, "The server failed; its log says how.")

"""What the container of many models answers: SageMaker's multi-model contract.

=================================  =============================================================
``POST /models``                   load: 200; 409 if it is loaded; 507 if it can never fit
``GET /models``                    list, page by page
``GET /models/{name}``             one of them; 404 if it is not loaded
``DELETE /models/{name}``          unload: 200; 404
``POST /models/{name}/invoke``     as ``/invocations`` of a single model
=================================  =============================================================

A load takes milliseconds of computing, so it runs throttled in a thread. When memory is short, the
least recently used models are evicted; a request for one of them is answered 404, upon which
SageMaker loads it again.
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qs, unquote

import orjson

from trainer.localization.bundle.loaded_model import LoadedModel
from trainer.localization.errors import BadBundle
from trainer.serving.exchange import HttpRequest, HttpResponse, RequestRefusedError
from trainer.serving.formats.openapi import openapi_document
from trainer.serving.formats.prediction_request import (
    PredictionRequest,
    answer_batch,
    read_prediction_request,
)
from trainer.serving.formats.served_model import ServedModel
from trainer.serving.logs import log
from trainer.serving.models.model_table import (
    MAX_MODELS,
    ModelEntry,
    ModelTable,
    ModelTableFullError,
)
from trainer.serving.models.service import (
    OPENAPI,
    PING,
    BlockingCall,
    Handled,
    check_method,
    open_model,
)
from trainer.serving.models.throttle import Throttle

MODELS = "/models"

_PAGE_MODELS = 100
"""Models on one page of the list: the default and the maximum."""
_MAX_NAME = 128
_MODEL_BYTES = 20 * 1024
"""What any model takes besides its numbers: names, heads of responses."""
_CELL_BYTES = 256
"""For each cell: its label and position in all their encodings."""


class MultiModelService:
    """Many models by name; each worker has its own copies of what the table lists."""

    def __init__(self, table: ModelTable, limit: int, workers: int) -> None:
        """Hold what ``table`` lists, within ``limit`` bytes for ``workers`` copies of each."""
        self._table = table
        self._limit = limit
        self._workers = workers
        self._held: dict[str, tuple[int, ServedModel]] = {}
        self._lock = threading.Lock()
        self._openapi = orjson.dumps(openapi_document(multi_model=True))

    @classmethod
    def empty(cls, limit: int, workers: int) -> "MultiModelService":
        """A service without models yet."""
        return cls(ModelTable(), limit, workers)

    def describe(self) -> Mapping[str, str | int | None]:
        """How many models there are, for the log."""
        return {"models": len(self._table.entries())}

    def handle(self, request: HttpRequest) -> Handled:
        """Answer one request, or return what is left to do.

        Raises:
            RequestRefusedError: it can't be answered.
        """
        if request.path == MODELS:
            return self._collection(request)
        if request.path.startswith(f"{MODELS}/"):
            return self._one(request)
        if request.path == PING:
            check_method(request, "GET", "HEAD")
            return _json({"status": "ok", "models": len(self._table.entries())})
        if request.path == OPENAPI:
            check_method(request, "GET", "HEAD")
            return HttpResponse(200, self._openapi)
        raise RequestRefusedError(
            404, f"There is no {request.path[:100]}: ask {PING}, {MODELS} or {OPENAPI}."
        )

    def _collection(self, request: HttpRequest) -> Handled:
        check_method(request, "GET", "POST")
        if request.method == "GET":
            return self._page(request.query)
        name, url = _load_request(request.body)
        if name in self._table.entries():
            raise _already_loaded(name)
        return lambda: self._load(name, url)

    def _page(self, query: str) -> HttpResponse:
        """Models by name, with the token of the next page if there is one.

        The token is the last name on the page, so models that are loaded or unloaded meanwhile make
        no other appear twice or not at all.
        """
        parameters = parse_qs(query, keep_blank_values=True)
        size = _page_size(parameters.get("page_size", [str(_PAGE_MODELS)])[-1])
        after = parameters.get("next_page_token", [""])[-1]
        entries = self._table.entries()
        names = sorted(name for name in entries if name > after)
        page: dict[str, object] = {
            "models": [_listed(name, entries[name]) for name in names[:size]]
        }
        if len(names) > size:
            page["nextPageToken"] = names[size - 1]
        return _json(page)

    def _one(self, request: HttpRequest) -> Handled:
        name, _, action = request.path.removeprefix(f"{MODELS}/").partition("/")
        name = unquote(name)
        if action == "invoke":
            check_method(request, "POST")
            return self._invoke(name, request)
        if action:
            raise RequestRefusedError(404, f"There is no {request.path[:100]}: POST to .../invoke.")
        check_method(request, "GET", "DELETE")
        if request.method == "GET":
            return _json(_listed(name, self._entry(name)))
        if not self._table.remove(name):
            raise _not_loaded(name)
        self._drop_removed()
        log("info", "model unloaded", model=name)
        return _json({"modelName": name})

    def _invoke(self, name: str, request: HttpRequest) -> PredictionRequest | BlockingCall:
        entry = self._entry(name)
        self._table.touch(entry)
        token, served = self._held.get(name, (None, None))
        if served is not None and token == entry.token:
            return read_prediction_request(served, request)
        # Another worker loaded it; from now on this one has it too.
        return lambda: answer_batch([read_prediction_request(self._fetch(name, entry), request)])[0]

    def _entry(self, name: str) -> ModelEntry:
        entry = self._table.entries().get(name)
        if entry is None:
            raise _not_loaded(name)
        return entry

    def _load(self, name: str, url: str) -> HttpResponse:
        model = _opened(url)
        size = size_of(model) * self._workers
        if size > self._limit:
            raise RequestRefusedError(
                507, f"{name} takes {size} bytes, and all models may take {self._limit} together."
            )
        try:
            added = self._table.add(name, url, size, self._limit)
        except ModelTableFullError as error:
            raise RequestRefusedError(
                507, f"There are {MAX_MODELS} models at most: unload some."
            ) from error
        if added is None:
            raise _already_loaded(name)
        self._keep(name, added.entry, model)
        self._drop_removed()
        log(
            "info", "model loaded", model=name, release=model.release, left=", ".join(added.evicted)
        )
        return _json({"modelName": name, "modelUrl": url})

    def _fetch(self, name: str, entry: ModelEntry) -> ServedModel:
        self._drop_removed()
        token, served = self._held.get(name, (None, None))
        if served is None or token != entry.token:
            served = self._keep(name, entry, _opened(entry.url))
        return served

    def _keep(self, name: str, entry: ModelEntry, model: LoadedModel) -> ServedModel:
        served = ServedModel.of(model)
        with self._lock:
            self._held[name] = (entry.token, served)
        return served

    def _drop_removed(self) -> None:
        """Release models that the table no longer lists; requests in flight keep theirs."""
        entries = self._table.entries()
        tokens = {entry.token for entry in entries.values()}
        with self._lock:
            self._held = {name: held for name, held in self._held.items() if held[0] in tokens}


def _load_request(body: bytes) -> tuple[str, str]:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefusedError(400, f"The body is no JSON: {error}.") from error
    name, url = (
        (document.get("model_name"), document.get("url"))
        if isinstance(document, dict)
        else (None, None)
    )
    if not isinstance(name, str) or not isinstance(url, str) or not name or not url:
        raise RequestRefusedError(400, 'Send {"model_name": NAME, "url": FOLDER}, both text.')
    if len(name) > _MAX_NAME or "/" in name or not name.isprintable():
        raise RequestRefusedError(
            400, f"A name has {_MAX_NAME} printable characters at most and no /."
        )
    if "\0" in url:
        raise RequestRefusedError(400, "The url holds a NUL, so it is no path.")
    return name, url


def _opened(url: str) -> LoadedModel:
    try:
        with Throttle() as throttle:
            return open_model(Path(url), throttle.pause)
    except BadBundle as error:
        raise RequestRefusedError(400, str(error)) from error


def size_of(model: LoadedModel) -> int:
    """The bytes that a model takes in a worker, estimated.

    A measurement would include what other loads and requests allocate meanwhile. By glibc's
    ``mallinfo2``, models of 3 to 500 beacons and 6 to 2,000 cells that answered a batch take from
    3 % less to 3 % more; those with one wide layer or without a temperature up to 10 % less, those
    without positions up to 14 % less.
    """
    return _MODEL_BYTES + model.held_bytes + _CELL_BYTES * len(model.cells)


def _page_size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _PAGE_MODELS:
        raise RequestRefusedError(
            400, f"page_size has to be a whole number from 1 to {_PAGE_MODELS}."
        )
    return int(text)


def _already_loaded(name: str) -> RequestRefusedError:
    return RequestRefusedError(
        409, f"{name} is loaded already: unload it to load another of the name."
    )


def _not_loaded(name: str) -> RequestRefusedError:
    return RequestRefusedError(404, f"{name[:_MAX_NAME]} is not loaded: POST it to {MODELS} first.")


def _listed(name: str, entry: ModelEntry) -> dict[str, str]:
    return {"modelName": name, "modelUrl": entry.url}


def _json(document: object) -> HttpResponse:
    return HttpResponse(200, orjson.dumps(document))

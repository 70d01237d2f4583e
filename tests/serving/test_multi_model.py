"""SageMaker's multi-model contract: load, list, unload and invoke many models in one server."""

import ctypes
import json
import random
import statistics
import threading
from pathlib import Path
from urllib.parse import urlencode

import numpy as np
import pytest

from tests.serving.running_server import PATIENCE_S, RunningServer
from tests.serving.served import NAME, Served, multi_model_service
from tests.serving.small_model import RELEASE, small_network, write_small_bundle
from trainer.localization.bundle.reading import load_bundle
from trainer.localization.runtime.engine import PART_ROWS
from trainer.serving.exchange import HttpRequest
from trainer.serving.formats.served_model import ServedModel
from trainer.serving.models.multi_model import MultiModelService, size_of
from trainer.serving.models.service import respond

ROW = b'{"b3001": -70}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def multi_model(bundle: Path) -> Served:
    """A service of its own with one model."""
    return multi_model_service(bundle)


def load(multi_model: Served, name: object, url: object) -> int:
    return multi_model.ask(
        "POST", "/models", json.dumps({"model_name": name, "url": url}).encode()
    ).status


def listed(multi_model: Served) -> list[str]:
    document = json.loads(multi_model.ask("GET", "/models").body)
    return [model["modelName"] for model in document["models"]]


def invoke(multi_model: Served, name: str) -> int:
    return multi_model.ask("POST", f"/models/{name}/invoke", ROW, JSON).status


def test_what_is_loaded_is_listed_with_its_url(multi_model: Served, bundle: Path) -> None:
    assert json.loads(multi_model.ask("GET", "/models").body) == {
        "models": [{"modelName": NAME, "modelUrl": str(bundle)}]
    }
    assert json.loads(multi_model.ask("GET", f"/models/{NAME}").body)["modelUrl"] == str(bundle)


def test_a_name_that_is_taken_is_a_conflict(multi_model: Served, bundle: Path) -> None:
    assert load(multi_model, NAME, str(bundle)) == 409


def test_what_is_unloaded_answers_no_more_and_may_be_loaded_again(
    multi_model: Served, bundle: Path
) -> None:
    assert multi_model.ask("DELETE", f"/models/{NAME}").status == 200

    assert invoke(multi_model, NAME) == 404
    assert multi_model.ask("GET", f"/models/{NAME}").status == 404
    assert multi_model.ask("DELETE", f"/models/{NAME}").status == 404
    assert load(multi_model, NAME, str(bundle)) == 200
    assert invoke(multi_model, NAME) == 200


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("", "/x"),
        ("a/b", "/x"),
        ("a\n", "/x"),
        (7, "/x"),
        ("a", None),
        ("a", "\0"),
        ("a" * 129, "/"),
    ],
)
def test_an_impossible_load_is_refused(multi_model: Served, name: object, url: object) -> None:
    assert load(multi_model, name, url) == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
def test_a_malformed_load_is_refused(multi_model: Served, body: bytes) -> None:
    assert multi_model.ask("POST", "/models", body).status == 400


def test_a_bundle_that_is_missing_or_answers_wrongly_is_not_loaded_and_says_why(
    multi_model: Served, tmp_path: Path
) -> None:
    wrong = write_small_bundle(tmp_path / "model.tar.gz", recorded_by=small_network(seed=5))

    assert load(multi_model, "gone", str(tmp_path / "gone")) == 400
    assert load(multi_model, "wrong", str(wrong)) == 400
    assert listed(multi_model) == [NAME]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/models", 405),
        ("POST", f"/models/{NAME}", 405),
        ("GET", f"/models/{NAME}/invoke", 405),
        ("POST", f"/models/{NAME}/explain", 404),
        ("POST", "/invocations", 404),
        ("GET", "/ping", 200),
        ("GET", "/models/%68all", 200),
    ],
)
def test_other_paths_and_methods(multi_model: Served, method: str, path: str, status: int) -> None:
    assert multi_model.ask(method, path).status == status


def test_the_least_recently_used_models_are_evicted_when_memory_is_short(bundle: Path) -> None:
    size = _size_of_one(bundle)
    multi_model = Served(
        MultiModelService.empty(size * 7 // 2, 1), "", multi_model_service(bundle).model
    )
    for name in "abc":
        assert load(multi_model, name, str(bundle)) == 200
    assert invoke(multi_model, "a") == 200

    assert load(multi_model, "d", str(bundle)) == 200

    assert listed(multi_model) == ["a", "c", "d"]
    assert [invoke(multi_model, name) for name in "abcd"] == [200, 404, 200, 200]


def test_a_model_that_can_never_fit_is_refused(bundle: Path) -> None:
    size = _size_of_one(bundle)
    multi_model = Served(
        MultiModelService.empty(size // 2, 1), "", multi_model_service(bundle).model
    )

    assert load(multi_model, "a", str(bundle)) == 507


def test_every_worker_s_copy_counts(bundle: Path) -> None:
    size = _size_of_one(bundle)
    multi_model = Served(
        MultiModelService.empty(size * 3 // 2, 2), "", multi_model_service(bundle).model
    )

    assert load(multi_model, "a", str(bundle)) == 507


def _size_of_one(bundle: Path) -> int:
    return size_of(load_bundle(bundle))


class _Mallinfo2(ctypes.Structure):
    """glibc's ``struct mallinfo2``."""

    _fields_ = [
        (name, ctypes.c_size_t)
        for name in (
            "arena", "ordblks", "smblks", "hblks", "hblkhd",
            "usmblks", "fsmblks", "uordblks", "fordblks", "keepcost",
        )
    ]  # fmt: skip


def bytes_held() -> int:
    """What this process allocated and has not freed, by the C library."""
    mallinfo2 = ctypes.CDLL(None).mallinfo2
    mallinfo2.restype = _Mallinfo2
    held = mallinfo2()
    return int(held.uordblks + held.hblkhd)


def test_the_estimate_of_a_model_s_memory_is_close_to_what_it_takes(bundle: Path) -> None:
    def loaded_and_used() -> ServedModel:
        served = ServedModel.of(load_bundle(bundle))
        served.model.answers(np.full((PART_ROWS, len(served.model.beacons)), -70, np.float32))
        return served

    kept, took = [loaded_and_used()], []
    for _ in range(9):
        before = bytes_held()
        kept.append(loaded_and_used())
        took.append(bytes_held() - before)

    # The median, as other threads and the garbage collector interfere.
    assert size_of(kept[0].model) == pytest.approx(statistics.median(took), rel=0.25)


def page(multi_model: Served, query: str) -> tuple[list[str], str | None]:
    reply = respond(multi_model.service, HttpRequest("GET", "/models", {}, b"", query))
    document = json.loads(reply.body)
    return [model["modelName"] for model in document["models"]], document.get("nextPageToken")


def test_models_are_listed_page_by_page_and_each_once_while_others_are_unloaded(
    multi_model: Served, bundle: Path
) -> None:
    for name in ("b&c", "a", "z", "d"):
        assert load(multi_model, name, str(bundle)) == 200

    first, token = page(multi_model, "page_size=2")
    assert multi_model.ask("DELETE", "/models/a").status == 200
    second, after = page(multi_model, urlencode({"page_size": 2, "next_page_token": token}))
    third, end = page(multi_model, urlencode({"page_size": 2, "next_page_token": after}))

    assert (first, second, third) == (["a", "b&c"], ["d", NAME], ["z"])
    assert end is None
    assert page(multi_model, "") == (["b&c", "d", NAME, "z"], None)


@pytest.mark.parametrize("size", ["0", "101", "-1", "x", "", "9" * 30])
def test_an_impossible_size_of_page_is_refused(multi_model: Served, size: str) -> None:
    request = HttpRequest("GET", "/models", {}, b"", f"page_size={size}")

    assert respond(multi_model.service, request).status == 400


def test_a_page_is_requested_over_http(bundle: Path) -> None:
    with RunningServer(bundle, multi_model=True) as running:
        assert running.load("attic", bundle).status == 200
        page = running.ask("GET", "/models?page_size=1").document
        rest = running.ask("GET", f"/models?next_page_token={page['nextPageToken']}").document

    assert page["models"] == [{"modelName": "attic", "modelUrl": str(bundle)}]
    assert rest["models"] == [{"modelName": "hall", "modelUrl": str(bundle)}]


def test_a_model_loaded_by_one_worker_is_answered_by_all(bundle: Path) -> None:
    with RunningServer(bundle, workers=3, multi_model=True) as running:
        answers = {str(running.invoke({"b3001": -70})) for _ in range(40)}
        assert running.ask("DELETE", "/models/hall").status == 200
        gone = {running.invoke({"b3001": -70}).status for _ in range(40)}

    assert len(answers) == 1
    assert gone == {404}


def test_loading_and_unloading_fails_no_request(bundle: Path) -> None:
    with RunningServer(bundle, workers=2, multi_model=True) as running:
        done = threading.Event()
        statuses: list[int] = []

        def ask() -> None:
            while not done.is_set():
                statuses.append(running.invoke({"b3001": -70}).status)

        threads = [threading.Thread(target=ask) for _ in range(3)]
        for thread in threads:
            thread.start()
        changes = []
        for choice in range(8):
            changes.append(running.load(f"site-{choice}", bundle).status)
            changes.append(running.ask("DELETE", f"/models/site-{choice}").status)
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)

    assert set(changes) == {200}
    assert set(statuses) == {200}


def test_models_loaded_and_unloaded_at_once_never_answer_for_another_nor_with_500(
    bundle: Path, tmp_path: Path
) -> None:
    other = write_small_bundle(tmp_path / "model.tar.gz", release="attic-0123456789ab")
    bundles = {RELEASE: bundle, "attic-0123456789ab": other}
    # Six fit at a time in two workers, and twelve are requested.
    environment = {"RSSI_MODELS_MEMORY_MB": "4"}
    results: list[tuple[int, bool]] = []

    def load_and_unload(running: RunningServer, client: int) -> None:
        generator = random.Random(client)
        for _ in range(40):
            number = generator.randrange(12)
            release = [*bundles][number % 2]
            name = f"site-{number}"
            choice = generator.random()
            if choice < 0.4:
                results.append((running.load(name, bundles[release]).status, True))
            elif choice < 0.5:
                results.append((running.ask("DELETE", f"/models/{name}").status, True))
            else:
                answer = running.ask("POST", f"/models/{name}/invoke", ROW, "application/json")
                right = answer.status == 404 or answer.document["release"] == release
                results.append((answer.status, right))

    with RunningServer(
        bundle, workers=2, multi_model=True, log_to_null=True, environment=environment
    ) as running:
        threads = [
            threading.Thread(target=load_and_unload, args=(running, one)) for one in range(6)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)

    assert len(results) == 6 * 40
    assert {status for status, _ in results} == {200, 404, 409}
    assert all(right for _, right in results)

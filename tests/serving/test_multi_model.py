"""SageMaker's multi-model contract: load, list, unload and invoke many models in one server."""

import json
import threading
from pathlib import Path

import pytest
from running_server import PATIENCE_S, RunningServer
from served import LIMIT, NAME, Served, on_a_shelf
from small_model import small_network, write_small_bundle

from trainer.serving.registry import Registry
from trainer.serving.shelf import Shelf

ROW = b'{"b3001": -70}'
JSON = {"content-type": "application/json"}


@pytest.fixture
def shelf(bundle: Path) -> Served:
    """A shelf of its own with one model on it."""
    return on_a_shelf(bundle)


def load(shelf: Served, name: object, url: object) -> int:
    return shelf.ask(
        "POST", "/models", json.dumps({"model_name": name, "url": url}).encode()
    ).status


def listed(shelf: Served) -> list[str]:
    document = json.loads(shelf.ask("GET", "/models").body)
    return [model["modelName"] for model in document["models"]]


def invoke(shelf: Served, name: str) -> int:
    return shelf.ask("POST", f"/models/{name}/invoke", ROW, JSON).status


def test_what_is_loaded_is_listed_with_its_url(shelf: Served, bundle: Path) -> None:
    assert json.loads(shelf.ask("GET", "/models").body) == {
        "models": [{"modelName": NAME, "modelUrl": str(bundle)}]
    }
    assert json.loads(shelf.ask("GET", f"/models/{NAME}").body)["modelUrl"] == str(bundle)


def test_a_name_that_is_taken_is_a_conflict(shelf: Served, bundle: Path) -> None:
    assert load(shelf, NAME, str(bundle)) == 409


def test_what_is_unloaded_answers_no_more_and_may_be_loaded_again(
    shelf: Served, bundle: Path
) -> None:
    assert shelf.ask("DELETE", f"/models/{NAME}").status == 200

    assert invoke(shelf, NAME) == 404
    assert shelf.ask("GET", f"/models/{NAME}").status == 404
    assert shelf.ask("DELETE", f"/models/{NAME}").status == 404
    assert load(shelf, NAME, str(bundle)) == 200
    assert invoke(shelf, NAME) == 200


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
def test_an_impossible_load_is_refused(shelf: Served, name: object, url: object) -> None:
    assert load(shelf, name, url) == 400


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"null"])
def test_a_load_without_sense_is_refused(shelf: Served, body: bytes) -> None:
    assert shelf.ask("POST", "/models", body).status == 400


def test_a_bundle_that_is_missing_or_answers_wrongly_is_not_loaded_and_says_why(
    shelf: Served, tmp_path: Path
) -> None:
    wrong = write_small_bundle(tmp_path / "model.tar.gz", recorded_by=small_network(seed=5))

    assert load(shelf, "gone", str(tmp_path / "gone")) == 400
    assert load(shelf, "wrong", str(wrong)) == 400
    assert listed(shelf) == [NAME]


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
def test_other_paths_and_methods(shelf: Served, method: str, path: str, status: int) -> None:
    assert shelf.ask(method, path).status == status


def test_the_models_used_longest_ago_leave_when_memory_is_short(bundle: Path) -> None:
    size = _size_of_one(bundle)
    shelf = Served(Shelf.empty(3 * size, 1), "", on_a_shelf(bundle).model)
    for name in "abc":
        assert load(shelf, name, str(bundle)) == 200
    assert invoke(shelf, "a") == 200

    assert load(shelf, "d", str(bundle)) == 200

    assert listed(shelf) == ["a", "c", "d"]
    assert [invoke(shelf, name) for name in "abcd"] == [200, 404, 200, 200]


def test_a_model_that_can_never_fit_is_refused_and_nobody_leaves(bundle: Path) -> None:
    size = _size_of_one(bundle)
    shelf = Served(Shelf.empty(size - 1, 1), "", on_a_shelf(bundle).model)

    assert load(shelf, "a", str(bundle)) == 507


def test_every_worker_s_copy_counts(bundle: Path) -> None:
    size = _size_of_one(bundle)
    shelf = Served(Shelf.empty(2 * size - 1, 2), "", on_a_shelf(bundle).model)

    assert load(shelf, "a", str(bundle)) == 507


def _size_of_one(bundle: Path) -> int:
    """Found by asking: the least limit under which one model is loaded."""
    model = on_a_shelf(bundle).model
    low, high = 0, LIMIT
    while low < high:
        limit = (low + high) // 2
        if load(Served(Shelf.empty(limit, 1), "", model), "a", str(bundle)) == 200:
            high = limit
        else:
            low = limit + 1
    return low


def test_two_of_one_table_see_each_other_s_changes() -> None:
    registry = Registry()
    assert registry.add("a", "/a", size=10, limit=100) == []
    assert registry.add("a", "/b", size=10, limit=100) is None
    assert registry.add("b", "/b", size=95, limit=100) == ["a"]
    assert [*registry.entries()] == ["b"]
    assert registry.remove("b")
    assert not registry.remove("b")


def test_a_model_loaded_by_one_worker_is_answered_by_all(bundle: Path) -> None:
    with RunningServer(bundle, workers=3, multi_model=True) as running:
        answers = {str(running.invoke({"b3001": -70})) for _ in range(40)}
        assert running.ask("DELETE", "/models/hall").status == 200
        gone = {running.invoke({"b3001": -70}).status for _ in range(40)}

    assert len(answers) == 1
    assert gone == {404}


def test_loading_and_unloading_disturbs_nobody(bundle: Path) -> None:
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
        for turn in range(15):
            changes.append(running.load(f"site-{turn}", bundle).status)
            changes.append(running.ask("DELETE", f"/models/site-{turn}").status)
        done.set()
        for thread in threads:
            thread.join(PATIENCE_S)

    assert set(changes) == {200}
    assert set(statuses) == {200}

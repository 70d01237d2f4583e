"""Figures of the model's speed: its fit beside a plain Gluon loop, large sets, and a whole run.

Whatever is compared takes turns in one process, so that a slower machine slows both. Because the
machine is shared, medians are quoted, and ratios of turns.
"""

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from ops.assembly import ROOT
from ops.demo.survey import generated_survey
from trainer.localization.dense.features import FeatureParameters, featurize
from trainer.localization.dense.network import Network, probabilities
from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.fitting.fit import fit
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.pipeline import CARD_FILE, METRICS_FILE
from trainer.training.job.train import train_files
from trainer.training.reading.site_description import SiteDescription
from trainer.training.reading.surveys import Survey, read_survey
from trainer.training.reading.training_set import TrainingSet, combine

Made = TypeVar("Made")

TURNS = 3
EPOCHS = 100
BATCH = 32
PLAIN_LAYERS = (128, 64)
RECIPE_A_LAYERS = (128, 128)
"""Those of the first recipe, kept for comparison; today's has one layer of 256, 15 % more work."""
PLAIN_FEATURES = FeatureParameters(bump_centres_dbm=())
"""Strength and mask of each beacon: inputs of the plain loop and of our fit of the same network."""
TEST_SHARE = 5
"""One row in so many is held out from all fits."""
LARGE_ROWS = 1_140_000
LARGE_BATCH = 1024
READ_ROWS = 1_420_000
BEACONS = 13
CELLS = 105


@dataclass(frozen=True)
class FitFigures:
    """Seconds, medians of the turns; ratios are medians of each turn's ratio."""

    plain_loop_s: float
    same_network_s: float
    recipe_s: float
    same_network_ratio: float
    recipe_ratio: float
    plain_exact: float
    """Share of held-out rows located exactly, in the last turn."""
    same_network_exact: float
    recipe_exact: float


@dataclass(frozen=True)
class LargeFigures:
    """Cost of a large set, in another process."""

    rows: int
    rows_per_s: float
    peak_mb: float
    beside: str
    """A figure to compare with, in words."""


@dataclass(frozen=True)
class RunFigures:
    """A run as a process, from start to bundle; seconds, medians."""

    whole_s: float
    neither_import_nor_fit_s: float


def measure_fit(data: Path | None = None) -> FitFigures:
    """Time the recipe, the same network as the loop's, and the plain loop, in turns.

    Args:
        data: a survey; a generated one of about the UCI set's size by default.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    load_mxnet()
    rows = combine([_survey(data)], SiteDescription())
    order = np.random.default_rng(0).permutation(len(rows))
    cut = len(rows) // TEST_SHARE
    held_out, trained = rows.take(order[:cut]), rows.take(order[cut:])
    same = Hyperparameters(hidden=PLAIN_LAYERS, epochs=EPOCHS, batch_size=BATCH)
    turns = [
        (
            _timed(lambda: plain_gluon_loop(trained, held_out)),
            _timed(lambda: fit(trained, PLAIN_FEATURES, same)),
            _timed(lambda: fit(trained, FeatureParameters(), Hyperparameters())),
        )
        for _ in range(TURNS)
    ]
    plain, network, recipe = ([seconds for seconds, _ in turn] for turn in zip(*turns, strict=True))
    (_, accuracy), (_, fitted), (_, best) = turns[-1]
    return FitFigures(
        plain_loop_s=statistics.median(plain),
        same_network_s=statistics.median(network),
        recipe_s=statistics.median(recipe),
        same_network_ratio=statistics.median(a / b for a, b in zip(plain, network, strict=True)),
        recipe_ratio=statistics.median(a / b for a, b in zip(plain, recipe, strict=True)),
        plain_exact=accuracy,
        same_network_exact=_exact(fitted, held_out, PLAIN_FEATURES),
        recipe_exact=_exact(best, held_out, FeatureParameters()),
    )


def _exact(network: Network, held_out: TrainingSet, parameters: FeatureParameters) -> float:
    answers = probabilities(network, featurize(held_out.rssi, parameters))
    return float((answers.argmax(axis=1) == held_out.cells).mean())


def plain_gluon_loop(trained: TrainingSet, held_out: TrainingSet) -> float:
    """The loop of Gluon's tutorials: DataLoader, Trainer, evaluation after each epoch.

    Its network has the inputs and layers of our fit beside it. Features are computed once, before.

    Returns:
        The accuracy on the held-out rows after the last epoch.
    """
    mx = load_mxnet()
    train, test = (
        mx.gluon.data.DataLoader(
            mx.gluon.data.ArrayDataset(
                # Row by row in memory, as the loop takes them.
                np.ascontiguousarray(featurize(part.rssi, PLAIN_FEATURES)),
                part.cells.astype(np.float32),
            ),
            batch_size=BATCH,
            shuffle=True,
        )
        for part in (trained, held_out)
    )
    network = mx.gluon.nn.Sequential()
    for width in PLAIN_LAYERS:
        network.add(mx.gluon.nn.Dense(width, activation="relu"))
    network.add(mx.gluon.nn.Dense(len(trained.labels)))
    network.initialize(mx.init.Xavier())
    trainer = mx.gluon.Trainer(network.collect_params(), "adam", {"learning_rate": 1e-3})
    loss_of = mx.gluon.loss.SoftmaxCrossEntropyLoss()
    accuracy = 0.0
    for _ in range(EPOCHS):
        for features, labels in train:
            with mx.autograd.record():
                loss = loss_of(network(features), labels)
            loss.backward()
            trainer.step(len(labels))
        metric = mx.metric.Accuracy()
        for features, labels in test:
            metric.update([labels], [network(features)])
        accuracy = float(metric.get()[1])
    return accuracy


def measure_large_fit(hidden: tuple[int, ...] | None = None) -> LargeFigures:
    """An epoch over :data:`LARGE_ROWS` rows, by :data:`LARGE_BATCH`.

    Args:
        hidden: widths of the network's layers; the recipe's by default.
    """
    return _large("fit", LARGE_ROWS, *map(str, hidden or Hyperparameters().hidden))


def measure_reading() -> LargeFigures:
    """Reading a CSV of :data:`READ_ROWS` rows of 13 beacons."""
    return _large("read", READ_ROWS)


def measure_large_run() -> LargeFigures:
    """A whole run over a file of :data:`LARGE_ROWS` rows, an epoch for each of its two fits."""
    with tempfile.TemporaryDirectory() as folder:
        # Not in the process whose memory is measured.
        _write_survey(Path(folder) / "survey.csv", LARGE_ROWS)
        return _large("run", LARGE_ROWS, folder)


def _write_survey(path: Path, rows: int) -> None:
    """Visits of ten rows; each location hears one beacon, and others at random."""
    random = np.random.default_rng(0)
    cells = random.integers(0, CELLS, size=-(-rows // 10)).repeat(10)[:rows]
    labels = np.array([f"{column}{row:02}" for column in "ABCDEFGHIJKLMNO" for row in range(1, 8)])
    columns = {"location": pl.Series(labels.tolist())[cells]}
    for place in range(BEACONS):
        heard = (cells % BEACONS == place) | (random.random(rows) < 0.15)
        columns[f"b{place}"] = pl.Series(np.where(heard, random.integers(-95, -55, rows), -200))
    pl.DataFrame(columns).write_csv(path)


def _large(what: str, rows: int, *more: str) -> LargeFigures:
    done = subprocess.run(
        [sys.executable, "-m", "ops.dev.bench_model", what, str(rows), *more],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak_mb, beside = done.stdout.strip().split(maxsplit=2)
    return LargeFigures(rows, rows / float(seconds), float(peak_mb), beside)


def measure_run() -> RunFigures:
    """Time `rssi train` on the generated survey as a process, and its parts."""
    with tempfile.TemporaryDirectory() as folder:
        survey = Path(folder) / "survey.csv"
        both = generated_survey()
        survey.write_bytes(both.first + both.second.partition(b"\n")[2])
        turns = [_run(survey, Path(folder) / "out") for _ in range(TURNS)]
    whole, rest = zip(*turns, strict=True)
    return RunFigures(statistics.median(whole), statistics.median(rest))


def _run(survey: Path, out: Path) -> tuple[float, float]:
    script = (
        "import time, sys; begun = time.perf_counter()\n"
        "import os; os.environ['OMP_NUM_THREADS'] = '1'\n"
        "from pathlib import Path\n"
        "from trainer.localization.mxnet_loader import load_mxnet\n"
        "from trainer.training.job.train import train_files\n"
        "from trainer.training.reading.site_description import SiteDescription\n"
        "load_mxnet(); imported = time.perf_counter()\n"
        "done = train_files([Path(sys.argv[1])], Path(sys.argv[2]), 0, SiteDescription())\n"
        "ended = time.perf_counter()\n"
        "print(ended - imported - done.fit_seconds); sys.stdout.flush(); os._exit(0)\n"
    )
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", script, str(survey), str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - begun, float(done.stdout)


def _survey(data: Path | None) -> Survey:
    if data is not None:
        return read_survey(data, SiteDescription())
    both = generated_survey()
    return read_survey(both.first + both.second.partition(b"\n")[2], SiteDescription())


def _timed(work: Callable[[], Made]) -> tuple[float, Made]:
    begun = time.perf_counter()
    done = work()
    return time.perf_counter() - begun, done


def _child(what: str, rows: int, *more: str) -> None:
    """Measure one large set; print seconds, the process's peak memory in MB, and a comparison."""
    if what == "run":
        seconds, peak, beside = _large_run(Path(more[0]))
    elif what == "fit":
        seconds, peak, beside = _large_fit(rows, tuple(map(int, more)))
    else:
        seconds, peak, beside = _large_read(rows)
    sys.stdout.write(f"{seconds} {peak} {beside}\n")


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _large_fit(rows: int, hidden: tuple[int, ...]) -> tuple[float, float, str]:
    load_mxnet()
    data = _large_set(rows)
    settings = Hyperparameters(hidden=hidden, epochs=2, batch_size=LARGE_BATCH)
    ended: list[float] = []
    begun = time.perf_counter()
    fit(data, FeatureParameters(), settings, lambda _: ended.append(time.perf_counter()))
    peak = _peak_mb()
    epoch = ended[1] - ended[0]
    products = _operations(settings)
    reached = rows * sum(2.0 * m * n for m, n in products) / epoch / 1e9
    alone = _product_gflops(products)
    beside = (
        f"{reached:.0f} GFLOP/s, where a core's plain matrix products of these shapes reach "
        f"{alone:.0f}; {ended[0] - begun - epoch:.1f} s before the first epoch"
    )
    return epoch, peak, beside


def _large_set(rows: int) -> TrainingSet:
    """A random set, made block by block: it is the fit's memory that is measured."""
    random = np.random.default_rng(0)
    rssi = np.full((rows, BEACONS), np.nan, dtype=np.float32)
    for start in range(0, rows, 65_536):
        part = rssi[start : start + 65_536]
        heard = random.random(part.shape, dtype=np.float32) >= 0.85
        part[heard] = random.integers(-95, -55, size=int(heard.sum()))
    return TrainingSet(
        beacons=tuple(f"b{place}" for place in range(BEACONS)),
        labels=tuple(f"c{place}" for place in range(CELLS)),
        positions=random.uniform(0, 50, size=(CELLS, 2)),
        rssi=rssi,
        cells=random.integers(0, CELLS, size=rows),
        visits=np.arange(rows) // 10,
        stays=np.arange(rows) // 10,
    )


def _operations(settings: Hyperparameters) -> list[tuple[int, int]]:
    """(inputs, outputs) of each product per row: forward, for weights, and backward."""
    widths = (FeatureParameters().per_beacon * BEACONS, *settings.hidden, CELLS)
    layers = list(pairwise(widths))
    return [*layers, *layers, *layers[1:]]


def _product_gflops(products: list[tuple[int, int]]) -> float:
    mx = load_mxnet()
    operands = [
        (mx.nd.ones((LARGE_BATCH // 2, inputs)), mx.nd.ones((inputs, outputs)))
        for inputs, outputs in products
    ]
    times = 20

    def multiply() -> None:
        for left, right in operands * times:
            # Wait for each, or several threads would compute them.
            mx.nd.dot(left, right).wait_to_read()

    seconds = min(_timed(multiply)[0] for _ in range(3))
    return LARGE_BATCH // 2 * times * sum(2.0 * m * n for m, n in products) / seconds / 1e9


def _large_read(rows: int) -> tuple[float, float, str]:
    both = generated_survey()
    header, *lines = both.first.decode().splitlines()
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write(header + "\n")
        block = "\n".join(lines) + "\n"
        for _ in range(rows // len(lines)):
            file.write(block)
        file.write("\n".join(lines[: rows % len(lines)]) + "\n" * (rows % len(lines) > 0))
        file.flush()
        seconds = min(
            _timed(lambda: read_survey(Path(file.name), SiteDescription()))[0] for _ in range(3)
        )
        peak = _peak_mb()
        alone = min(_timed(lambda: pl.read_csv(file.name))[0] for _ in range(3))
    return seconds, peak, f"Polars alone, without any check, {rows / alone / 1000:.0f} k rows/s"


def _large_run(folder: Path) -> tuple[float, float, str]:
    settings = Hyperparameters(epochs=1, batch_size=LARGE_BATCH)
    seconds, done = _timed(
        lambda: train_files([folder / "survey.csv"], folder / "out", 0, SiteDescription(), settings)
    )
    peak = _peak_mb()
    card, metrics = ((folder / "out" / name).stat().st_size for name in (CARD_FILE, METRICS_FILE))
    beside = (
        f"{seconds:.0f} s, {time.process_time():.0f} s of a core's; {done.fit_seconds:.0f} s in "
        f"the last fit; a card of {card / 1000:.0f} kB, figures of {metrics / 1000:.0f} kB"
    )
    return seconds, peak, beside


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])

"""Figures of the model's speed: its fit beside a plain Gluon loop, large sets, and a whole run.

What is compared takes turns in one process, so that a machine that slows down slows both. What may
go wrong: another tenant of the machine; medians are quoted, and ratios of turns.
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
from pathlib import Path

import numpy as np

from ops.assembly import ROOT
from ops.demo.survey import generated_survey
from trainer.localization.features import FeatureParameters
from trainer.localization.mxnet_loader import load_mxnet
from trainer.training.dataset import TrainingSet, combine
from trainer.training.fit import fit
from trainer.training.hyperparameters import Hyperparameters
from trainer.training.site import Site
from trainer.training.surveys import Survey, read_survey

TURNS = 3
EPOCHS = 100
BATCH = 32
PLAIN_LAYERS = (128, 64)
LARGE_ROWS = 1_140_000
READ_ROWS = 1_420_000


@dataclass(frozen=True)
class FitFigures:
    """Seconds, medians of the turns; ratios are medians of each turn's ratio."""

    plain_loop_s: float
    same_network_s: float
    recipe_s: float
    same_network_ratio: float
    recipe_ratio: float


@dataclass(frozen=True)
class LargeFigures:
    """What a large set costs, in a process of its own."""

    rows: int
    rows_per_s: float
    peak_mb: float


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
    rows = combine([_survey(data)], Site())
    same = Hyperparameters(hidden=PLAIN_LAYERS, epochs=EPOCHS, batch_size=BATCH)
    turns = [
        (
            _seconds(lambda: plain_gluon_loop(rows)),
            _seconds(lambda: fit(rows, FeatureParameters(), same)),
            _seconds(lambda: fit(rows, FeatureParameters(), Hyperparameters())),
        )
        for _ in range(TURNS)
    ]
    plain, network, recipe = zip(*turns, strict=True)
    return FitFigures(
        plain_loop_s=statistics.median(plain),
        same_network_s=statistics.median(network),
        recipe_s=statistics.median(recipe),
        same_network_ratio=statistics.median(a / b for a, b in zip(plain, network, strict=True)),
        recipe_ratio=statistics.median(a / b for a, b in zip(plain, recipe, strict=True)),
    )


def plain_gluon_loop(data: TrainingSet) -> float:
    """What Gluon's tutorials write: DataLoader, Trainer, evaluation after each epoch.

    Returns:
        The accuracy on a fifth of the rows after the last epoch.
    """
    mx = load_mxnet()
    readings = np.nan_to_num(data.rssi, nan=-200.0) / 100.0
    cells = data.cells.astype(np.float32)
    cut = len(cells) * 4 // 5
    order = np.random.default_rng(0).permutation(len(cells))
    sets = [
        mx.gluon.data.ArrayDataset(readings[part], cells[part])
        for part in (order[:cut], order[cut:])
    ]
    train, test = (mx.gluon.data.DataLoader(part, batch_size=BATCH, shuffle=True) for part in sets)
    network = mx.gluon.nn.Sequential()
    for width in PLAIN_LAYERS:
        network.add(mx.gluon.nn.Dense(width, activation="relu"))
    network.add(mx.gluon.nn.Dense(len(data.labels)))
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


def measure_large_fit() -> LargeFigures:
    """One epoch over :data:`LARGE_ROWS` rows of 13 beacons and 105 cells."""
    return _large("fit", LARGE_ROWS)


def measure_reading() -> LargeFigures:
    """Reading a CSV of :data:`READ_ROWS` rows of 13 beacons."""
    return _large("read", READ_ROWS)


def _large(what: str, rows: int) -> LargeFigures:
    done = subprocess.run(
        [sys.executable, "-m", "ops.bench_model", what, str(rows)],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, peak_mb = map(float, done.stdout.split())
    return LargeFigures(rows=rows, rows_per_s=rows / seconds, peak_mb=peak_mb)


def measure_run() -> RunFigures:
    """`rssi train` on the generated survey as a process, with what its parts took."""
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
        "from trainer.training.train import train_files, load_mxnet\n"
        "from trainer.training.site import Site\n"
        "load_mxnet(); imported = time.perf_counter()\n"
        "done = train_files([Path(sys.argv[1])], Path(sys.argv[2]), 0, Site())\n"
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
        return read_survey(data, Site())
    both = generated_survey()
    return read_survey(both.first + both.second.partition(b"\n")[2], Site())


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _child(what: str, rows: int) -> None:
    """Do one large thing and print its seconds and the process's peak memory in MB."""
    seconds = _large_fit_seconds(rows) if what == "fit" else _large_read_seconds(rows)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(f"{seconds} {peak}\n")


def _large_fit_seconds(rows: int) -> float:
    load_mxnet()
    random = np.random.default_rng(0)
    rssi = random.integers(-95, -55, size=(rows, 13)).astype(np.float32)
    rssi[random.random(rssi.shape, dtype=np.float32) < 0.85] = np.nan
    cells = random.integers(0, 105, size=rows)
    data = TrainingSet(
        beacons=tuple(f"b{place}" for place in range(13)),
        labels=tuple(f"c{place}" for place in range(105)),
        positions=random.uniform(0, 50, size=(105, 2)),
        rssi=rssi,
        cells=cells,
        visits=np.arange(rows) // 10,
        stays=np.arange(rows) // 10,
    )
    settings = Hyperparameters(epochs=1, batch_size=1024)
    return _seconds(lambda: fit(data, FeatureParameters(), settings))


def _large_read_seconds(rows: int) -> float:
    both = generated_survey()
    header, *lines = both.first.decode().splitlines()
    with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
        file.write(header + "\n")
        block = "\n".join(lines) + "\n"
        for _ in range(rows // len(lines)):
            file.write(block)
        file.write("\n".join(lines[: rows % len(lines)]) + "\n" * (rows % len(lines) > 0))
        file.flush()
        return _seconds(lambda: read_survey(Path(file.name), Site()))


if __name__ == "__main__":
    _child(sys.argv[1], int(sys.argv[2]))

"""One fit by several processes on loopback: MXNet's dist_sync over ps-lite."""

import os
import runpy
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import structlog

from tests.training.made_up_floor import HALL, QUICK, survey_lines, survey_text
from trainer.localization.dense.features import FeatureParameters
from trainer.localization.dense.network import Network
from trainer.training.fitting.device import device_name
from trainer.training.fitting.distributed import WorkerGroup, WorkerGroupSettings, worker_group
from trainer.training.fitting.fit import fit
from trainer.training.fitting.hyperparameters import Hyperparameters
from trainer.training.job.outcome import ExitCode
from trainer.training.reading.surveys import read_survey
from trainer.training.reading.training_set import TrainingSet, combine

# Fits twice, as every training does, and keeps the second network.
WORKER = """
import os, sys
import numpy as np
from tests.training.test_distributed import rows, settings
from trainer.localization.dense.features import FeatureParameters
from trainer.training.fitting.distributed import (
    WorkerGroupSettings, join_worker_group, worker_group,
)
from trainer.training.fitting.fit import fit

hyperparameters = settings(int(sys.argv[2]))
with join_worker_group(WorkerGroupSettings()):
    fit(rows().take(np.arange(100)), FeatureParameters(), hyperparameters)
    network = fit(rows(), FeatureParameters(), hyperparameters)
    fits = worker_group()._fits
arrays = [array for layer in network.layers for array in (layer.weight, layer.bias)]
np.savez(sys.argv[1], fits, *arrays)
sys.stdout.flush()
os._exit(0)
"""


def settings(batch: int) -> Hyperparameters:
    return QUICK.model_copy(update={"epochs": 8, "batch_size": batch})


def rows() -> TrainingSet:
    return combine([read_survey(survey_text(survey_lines()).encode(), HALL, name="walk")], HALL)


def arrays_of(network: Network) -> list[np.ndarray]:
    return [array for layer in network.layers for array in (layer.weight, layer.bias)]


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def environment_of(index: int, port: int, **changes: str) -> dict[str, str]:
    return {
        "JOB_COMPLETION_INDEX": str(index),
        "RSSI_WORKERS": "2",
        "RSSI_MEETING_HOST": "127.0.0.1",
        "RSSI_MEETING_PORT": str(port),
        "RSSI_OWN_HOST": "127.0.0.1",
        **changes,
    }


@pytest.mark.slow
@pytest.mark.parametrize(("batch", "vectors"), [(QUICK.batch_size, 1), (1024, 2)])
def test_two_workers_come_to_what_one_comes_to(tmp_path: Path, batch: int, vectors: int) -> None:
    environment = {
        "PATH": os.environ["PATH"],
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(Path(__file__).parents[2]),
    }
    port = free_port()
    outs = [tmp_path / f"{index}.npz" for index in range(2)]

    workers = [
        subprocess.Popen(
            (sys.executable, "-c", WORKER, str(out), str(batch)),
            env={**environment, **environment_of(index, port)},
        )
        for index, out in enumerate(outs)
    ]
    alone = arrays_of(fit(rows(), FeatureParameters(), settings(batch)))
    try:
        ended = [worker.wait(60) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()

    assert ended == [0, 0]
    (fits, *one), (_, *other) = ([*np.load(out).values()] for out in outs)
    assert fits == 2 * vectors, "they did not add up all gradients of both fits"
    for ours, theirs, single in zip(one, other, alone, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        # By their norm: where a gradient is all but zero, Adam makes steps of its rounding.
        assert np.linalg.norm(ours - single) < 1e-3 * np.linalg.norm(single)


@pytest.mark.parametrize(("batch", "count"), [(128, 2), (128, 3), (5, 5), (7, 4)])
def test_the_workers_parts_make_the_whole_batch(batch: int, count: int) -> None:
    whole = [
        row
        for index in range(count)
        for row in [*range(batch)][WorkerGroup(index, count).part(batch)]
    ]

    assert whole == [*range(batch)]


def test_a_batch_that_leaves_a_worker_without_rows_is_refused() -> None:
    with pytest.raises(ValueError, match="larger batch_size, or fewer workers"):
        WorkerGroup(0, 4).part(3)


def test_the_first_process_meets_the_others_at_its_own_address(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    variables_of = []
    for index in (0, 1):
        changes = {"RSSI_MEETING_HOST": "run-0.rssi-workers", "RSSI_OWN_HOST": f"10.0.0.{index}"}
        for name, value in environment_of(index, 9091, **changes).items():
            monkeypatch.setenv(name, value)
        variables_of.append(WorkerGroupSettings().variables("worker"))

    assert [variables["DMLC_PS_ROOT_URI"] for variables in variables_of] == [
        "10.0.0.0",
        "run-0.rssi-workers",
    ]
    assert [variables["DMLC_NODE_HOST"] for variables in variables_of] == ["10.0.0.0", "10.0.0.1"]


@pytest.fixture
def log_of_its_own() -> Iterator[None]:
    """Forget how a training process logs once it has ended."""
    yield
    structlog.reset_defaults()


def ended_with(monkeypatch: pytest.MonkeyPatch) -> int:
    """The exit code of a process that trains as one of several."""
    ended: list[int] = []
    monkeypatch.setattr("os._exit", ended.append)
    runpy.run_module("trainer.training.job.worker", run_name="__main__")
    return ended[0]


def test_a_training_process_fits_with_the_peers_that_it_joined(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in environment_of(1, 9091).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("os.environ", dict(os.environ))
    monkeypatch.setattr("trainer.training.job.process.main", lambda: 100 * worker_group().count)

    assert ended_with(monkeypatch) == 200
    assert worker_group().count == 1


def test_a_process_without_the_group_s_variables_says_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_of_its_own: None
) -> None:
    monkeypatch.delenv("RSSI_WORKERS", raising=False)

    assert ended_with(monkeypatch) == ExitCode.MISCONFIGURED
    assert "describes no worker" in capsys.readouterr().out


def test_without_a_gpu_the_fit_is_on_the_cpu() -> None:
    assert device_name() == "cpu"


def locked(name: str) -> set[str]:
    text = (Path(__file__).parents[2] / "requirements" / f"{name}.txt").read_text()
    return {line.split()[0] for line in text.splitlines() if line and line[0] not in " #"}


def test_the_gpus_image_differs_in_mxnet_and_nvidias_libraries_alone() -> None:
    more = locked("trainer-gpu") - locked("trainer")

    assert locked("trainer") - locked("trainer-gpu") == {"mxnet==1.9.1"}
    assert "mxnet-cu112==1.9.1" in more
    assert all(name.startswith(("mxnet-cu", "nvidia-")) for name in more)

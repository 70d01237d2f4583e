"""The import contracts refuse what they are there to refuse: illegal imports are planted."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOM_FOLDERS = ("events", "aws", "functions", "trainer", "cdk", "ops")

PLANTED = [
    # Client libraries outside their borders.
    ("trainer/agent/controller.py", "kubernetes"),
    ("trainer/agent/core/reconcile.py", "kubernetes"),
    ("ops/account/event_log.py", "kubernetes"),
    ("trainer/training/job/pipeline.py", "kubernetes"),
    ("functions/create_model.py", "boto3"),
    ("functions/core/gate.py", "botocore"),
    ("trainer/agent/core/reconcile.py", "boto3"),
    ("trainer/training/job/training_job.py", "botocore"),
    ("events/names.py", "botocore"),
    ("cdk/stack.py", "boto3"),
    ("ops/account/event_log.py", "mxnet"),
    ("trainer/serving/exchange.py", "mxnet"),
    ("trainer/training/job/pipeline.py", "mxnet"),
    ("trainer/training/settings.py", "aws_cdk"),
    # Rooms that may not know each other.
    ("trainer/localization/features.py", "trainer.agent.settings"),
    ("trainer/training/errors.py", "trainer.agent.errors"),
    ("trainer/serving/exchange.py", "trainer.training.errors"),
    ("trainer/logs.py", "functions.settings"),
    ("functions/services.py", "trainer.logs"),
    ("functions/reconcile.py", "functions.roll_back"),
    ("functions/core/errors.py", "functions.settings"),
    ("functions/adapters/ledger.py", "functions.services"),
    ("events/base.py", "aws.s3"),
    ("aws/s3.py", "functions.settings"),
    ("cdk/settings.py", "ops.errors"),
    ("trainer/agent/core/reconcile.py", "aws.s3"),
    ("trainer/agent/adapters/bus.py", "trainer.agent.service"),
    ("trainer/agent/errors.py", "trainer.agent.core.reconcile"),
    # Against the way of the data.
    ("trainer/training/reading/surveys.py", "trainer.training.quality.audit"),
    ("trainer/training/quality/drift.py", "trainer.training.evaluation.hold_out"),
    ("trainer/training/fitting/fit.py", "trainer.training.evaluation.evaluate"),
    ("trainer/training/evaluation/baselines.py", "trainer.training.reports.card"),
    ("trainer/training/reports/card.py", "trainer.training.job.outcome"),
    ("trainer/serving/exchange.py", "trainer.serving.formats.parsing"),
    ("trainer/serving/models/throttle.py", "trainer.serving.http.server"),
    # The embedded cloud knows nothing of ours; commands are nobody's library.
    ("ops/local/cloud.py", "ops.errors"),
    ("ops/local/cloud.py", "events.names"),
    ("ops/errors.py", "ops.account.session"),
    ("ops/account/event_log.py", "ops.cli.main"),
    ("ops/cli/main.py", "ops.dev.lock"),
]
CIRCLE = ("trainer/training/reading/times_polars.py", "trainer.training.reading.times")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What import-linter says of a copy of the sources with all the imports planted in it."""
    copy = tmp_path_factory.mktemp("planted")
    for folder in ROOM_FOLDERS:
        shutil.copytree(ROOT / folder, copy / folder, ignore=lambda _, names: _not_sources(names))
    shutil.copy(ROOT / "pyproject.toml", copy)
    for file, imported in (*PLANTED, CIRCLE):
        with (copy / file).open("a") as source:
            source.write(f"\n\ndef _planted() -> None:\n    import {imported}\n")
    run = subprocess.run(
        [sys.executable, "-c", "from importlinter.cli import lint_imports_command as c; c()"],
        cwd=copy,
        env={"PATH": "", "PYTHONPATH": str(copy), "COLUMNS": "1000"},
        check=False,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 1, run.stdout + run.stderr
    # Long lines are folded at the terminal's width.
    return re.sub(r"\s+", " ", run.stdout)


def _not_sources(names: list[str]) -> list[str]:
    return [name for name in names if Path(name).suffix not in {"", ".py"} or "__pycache__" in name]


@pytest.mark.parametrize(("file", "imported"), PLANTED, ids=str)
def test_an_illegal_import_is_refused(report: str, file: str, imported: str) -> None:
    importer = file.removesuffix(".py").replace("/", ".")
    assert f"{importer} -> {imported} (l." in report


def test_a_circle_within_a_room_is_refused(report: str) -> None:
    assert "No cycles are allowed in trainer.training.reading." in report

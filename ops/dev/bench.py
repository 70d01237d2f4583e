"""`make bench`: figures of speed.

A machine's speed drifts: whatever is compared takes turns in one run, and medians are quoted.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ops.assembly import ROOT
from ops.dev.bench_agent import print_agent
from ops.dev.bench_drops import bench_drops
from ops.dev.bench_model import (
    RECIPE_A_LAYERS,
    measure_fit,
    measure_large_fit,
    measure_large_run,
    measure_reading,
    measure_run,
)
from ops.dev.bench_serving import bench_serving
from ops.dev.bench_soak import MINUTES, bench_soak

TURNS = 5
SOAK = "soak"
"""Runs only if it is named: it takes ten minutes."""
HANDLERS = ("create_model", "roll_endpoint", "smoke_test", "roll_back")
EVERYTHING = """
import boto3, pydantic
from aws_lambda_powertools import Logger, Metrics, Tracer, event_handler
from aws_lambda_powertools.utilities import batch, data_classes, feature_flags, parameters, typing
from aws_lambda_powertools.utilities.data_masking.provider.kms import AWSEncryptionSDKProvider
from aws_lambda_powertools.utilities.idempotency import DynamoDBPersistenceLayer, idempotent
from aws_lambda_powertools.utilities.parser import envelopes, event_parser, models
from aws_lambda_powertools.utilities.validation import validator
import aws_xray_sdk.core
"""


def main() -> None:
    """Measure the sections that are named, or all, and print the figures."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "--data", type=Path, help="a survey to measure with; generated if not given"
    )
    parser.add_argument("--only", choices=SECTIONS, action="append", help="may be repeated")
    options = parser.parse_args()
    console = Console()
    for name in options.only or [name for name in SECTIONS if name != SOAK]:
        SECTIONS[name](console, options.data)


def _print_imports(console: Console, _data: Path | None) -> None:
    table = Table("handler", "ms", "everything, ms", "ratio", title="Importing a handler", box=None)
    for handler in HANDLERS:
        ours, theirs = _in_turns(
            lambda handler=handler: _import_seconds(f"import functions.{handler}"),  # type: ignore[misc]
            lambda: _import_seconds(EVERYTHING),
        )
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        table.add_row(handler, _ms(ours), _ms(theirs), f"{ratio:.2f}")
    console.print(table)
    reference = "boto3, pydantic, and Powertools with all that its extra \\[all] brings"
    console.print(f"everything: {reference}\n", style="dim")


def _print_synth(console: Console, _data: Path | None) -> None:
    with tempfile.TemporaryDirectory() as out:
        times = [_synth_seconds(out) for _ in range(TURNS)]
    console.print(f"[bold]Synthesizing[/] median {statistics.median(times):.2f} s, ", end="")
    console.print(f"of {TURNS}: {min(times):.2f} to {max(times):.2f} s\n")


def _in_turns(
    one: Callable[[], float], other: Callable[[], float]
) -> tuple[list[float], list[float]]:
    one(), other()  # byte code and disk caches
    pairs = [(one(), other()) for _ in range(TURNS)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def _import_seconds(statements: str) -> float:
    timed = (
        "import time\nbegun = time.perf_counter()\n"
        f"{statements}\nprint(time.perf_counter() - begun)"
    )
    return float(_run([sys.executable, "-c", timed], {}))


def _synth_seconds(out: str) -> float:
    begun = time.perf_counter()
    _run([sys.executable, "app.py"], {"CDK_OUTDIR": out})
    return time.perf_counter() - begun


def _run(command: Sequence[str], environment: dict[str, str]) -> str:
    # Without byte code on disk an import would be measured with its compilation.
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    run = subprocess.run(
        command,
        cwd=ROOT,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def _ms(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds) * 1000:.0f}"


def _print_model(console: Console, data: Path | None) -> None:
    fit, run = measure_fit(data), measure_run()
    table = Table("what", "seconds", "ratio", "exact", title="The model", box=None)
    for what, seconds, ratio, exact in (
        ("plain Gluon loop", fit.plain_loop_s, 1.0, fit.plain_exact),
        (
            "the same network here",
            fit.same_network_s,
            fit.same_network_ratio,
            fit.same_network_exact,
        ),
        ("the recipe", fit.recipe_s, fit.recipe_ratio, fit.recipe_exact),
    ):
        table.add_row(what, f"{seconds:.2f}", f"{ratio:.1f}", f"{exact:.1%}")
    table.add_row("a run as a process", f"{run.whole_s:.2f}", "")
    table.add_row("of it neither import nor fit", f"{run.neither_import_nor_fit_s:.2f}", "")
    console.print(table)
    console.print(
        "plain loop: DataLoader, Trainer; the same network: its layers, inputs, batch and epochs",
        style="dim",
    )
    for what, large in (
        ("fitting", measure_large_fit()),
        ("fitting recipe A's network to", measure_large_fit(RECIPE_A_LAYERS)),
        ("reading", measure_reading()),
        ("a whole run on", measure_large_run()),
    ):
        speed = f"{large.rows_per_s / 1000:.0f} k rows/s, {large.peak_mb:.0f} MB at most"
        console.print(f"{what} {large.rows / 1e6:.2f} M rows: {speed}", highlight=False)
        console.print(f"  beside it: {large.beside}", highlight=False)
    console.print()


def _print_serving(console: Console, _data: Path | None) -> None:
    bench_serving(console)


def _print_soak(console: Console, _data: Path | None) -> None:
    console.print(f"sending requests for {MINUTES} minutes")
    bench_soak(console)


def _print_agent(console: Console, _data: Path | None) -> None:
    print_agent(console)


SECTIONS: dict[str, Callable[[Console, Path | None], None]] = {
    "imports": _print_imports,
    "synth": _print_synth,
    "drops": bench_drops,
    "model": _print_model,
    "serving": _print_serving,
    SOAK: _print_soak,
    "agent": _print_agent,
}


if __name__ == "__main__":
    main()

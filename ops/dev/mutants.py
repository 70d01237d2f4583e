"""`make mutants`: changes the pure rules one operator at a time, and sees whether a test notices.

At most :data:`BUDGET_S`, each in a copy of the sources. mutmut was tried: its tracing of which test
covers what took longer here than running the few quick tests of a room.
"""

import argparse
import ast
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUDGET_S = 3600.0
TIMEOUT_S = 120.0
SOURCES = ("events", "aws", "functions", "trainer", "tests", "pyproject.toml", "docs")
ROOMS = {
    "functions/core": (
        "tests/functions/test_judgements.py",
        "tests/functions/test_state_table.py",
        "tests/functions/test_champion_gate.py",
    ),
    "trainer/agent/core": (
        "tests/agent/test_agent_reconcile.py",
        "tests/agent/test_run_events.py",
        "tests/agent/test_agent_schedule.py",
    ),
    "trainer/training/evaluation": (
        "tests/training/test_figures.py",
        "tests/training/test_reliability.py",
        "tests/training/test_confidence.py",
    ),
}
"""The rooms, and the quick tests of each; what only slower tests notice survives here."""

_COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_ARITHMETIC: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change of one module."""

    module: Path
    line: int
    change: str
    source: str


def mutants(module: Path) -> Iterator[Mutant]:
    """Every change of a module's comparisons, conditions, arithmetic and numbers."""
    text = (ROOT / module).read_text()
    for index, node in enumerate(ast.walk(ast.parse(text))):
        tree = ast.parse(text)
        twin = next(other for place, other in enumerate(ast.walk(tree)) if place == index)
        change = _changed(twin)
        if change:
            line = getattr(node, "lineno", 0)
            yield Mutant(module, line, change, ast.unparse(ast.fix_missing_locations(tree)))


def _changed(node: ast.AST) -> str:  # noqa: PLR0911 - one for each kind of node
    """Change a node in place and say how; empty if there is nothing to change."""
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _COMPARISONS:
            node.ops = [_COMPARISONS[type(operator)]()]
            return f"{type(operator).__name__} -> {type(node.ops[0]).__name__}"
        case ast.BoolOp():
            node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
            return f"-> {type(node.op).__name__}"
        case ast.UnaryOp(op=ast.Not()):
            node.op = ast.UAdd()
            node.operand = ast.Call(ast.Name("bool", ast.Load()), [node.operand], [])
            return "not dropped"
        case ast.BinOp(op=operator) if type(operator) in _ARITHMETIC:
            node.op = _ARITHMETIC[type(operator)]()
            return f"{type(operator).__name__} -> {type(node.op).__name__}"
        case ast.Constant(value=bool() as value):
            node.value = not value
            return f"{value} -> {node.value}"
        case ast.Constant(value=int() | float() as number):
            node.value = number + 1
            return f"{number} -> {node.value}"
    return ""


def survives(mutant: Mutant, tests: tuple[str, ...]) -> bool:
    """Whether a room's tests pass in a copy of the sources that holds the change.

    Raises:
        RuntimeError: the tests could not be run, which says nothing about the change.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as scratch:
        copy = Path(scratch)
        for name in SOURCES:
            (copy / name).symlink_to(ROOT / name)
        # Only the folders above the changed module are folders of the copy's own.
        for folder in reversed(mutant.module.parents[:-1]):
            _unfold(copy / folder, ROOT / folder)
        (copy / mutant.module).unlink()
        (copy / mutant.module).write_text(mutant.source)
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *tests],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1"},
            check=False,
            capture_output=True,
            timeout=TIMEOUT_S,
        )
    if run.returncode not in {0, 1, 2}:  # passed, failed, stopped by an error at import
        raise RuntimeError(f"pytest ended with {run.returncode}: {run.stdout.decode()[-2000:]}")
    return run.returncode == 0


def _unfold(copy: Path, original: Path) -> None:
    if copy.is_symlink():
        copy.unlink()
    copy.mkdir(exist_ok=True)
    for entry in original.iterdir():
        if entry.name != "__pycache__" and not (copy / entry.name).is_symlink():
            (copy / entry.name).symlink_to(entry)


def main() -> int:
    """Try mutants in random order until all are tried or the time is over; print the survivors."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=BUDGET_S, help="stop after so long")
    parser.add_argument("--only", choices=sorted(ROOMS), help="one room")
    options = parser.parse_args()
    started = time.monotonic()
    rooms = [options.only] if options.only else sorted(ROOMS)
    for place, room in enumerate(rooms, start=1):
        _try_room(room, started + options.seconds * place / len(rooms))
    return 0


def _try_room(room: str, until: float) -> None:
    modules = [path.relative_to(ROOT) for path in sorted((ROOT / room).rglob("*.py"))]
    unchanged = Mutant(modules[0], 0, "nothing", (ROOT / modules[0]).read_text())
    if not survives(unchanged, ROOMS[room]):
        raise SystemExit(f"The tests of {room} fail without any change: mend them first.")
    all_mutants = [mutant for module in modules for mutant in mutants(module)]
    random.Random(1).shuffle(all_mutants)  # noqa: S311 - a sample, no secret

    def attempt(mutant: Mutant) -> bool | None:
        if time.monotonic() >= until:
            return None
        try:
            return survives(mutant, ROOMS[room])
        except subprocess.TimeoutExpired:
            return False

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        verdicts = list(pool.map(attempt, all_mutants))
    tried = [verdict for verdict in verdicts if verdict is not None]
    found = [m for m, verdict in zip(all_mutants, verdicts, strict=True) if verdict]
    print(f"{room}: {len(tried)} of {len(all_mutants)} tried, {len(found)} survived")  # noqa: T201 - its output
    for mutant in sorted(found, key=lambda mutant: (str(mutant.module), mutant.line)):
        print(f"  {mutant.module}:{mutant.line}  {mutant.change}")  # noqa: T201 - its output


if __name__ == "__main__":
    sys.exit(main())

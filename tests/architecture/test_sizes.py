"""Rooms, modules and functions stay small enough to find one's way in."""

import ast
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOM_FOLDERS = ("events", "aws", "functions", "trainer", "cdk", "ops")
MODULES_IN_A_ROOM = 14
LINES_OF_A_MODULE = 400
LINES_OF_A_FUNCTION = 60

SOURCES = [path for folder in ROOM_FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def test_no_room_has_too_many_modules_at_one_level() -> None:
    modules = Counter(path.parent for path in SOURCES if not path.stem.startswith("__"))
    assert not {
        str(room.relative_to(ROOT)): count
        for room, count in modules.items()
        if count > MODULES_IN_A_ROOM
    }


def test_every_room_says_what_lives_there() -> None:
    rooms = {path.parent for path in SOURCES}
    silent = []
    for room in sorted(rooms):
        opening = room / "__init__.py"
        said = ast.get_docstring(ast.parse(opening.read_text())) if opening.exists() else None
        if not said or len(said.split()) < 8:
            silent.append(str(room.relative_to(ROOT)))
    assert not silent


def test_no_module_is_too_long() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in SOURCES}
    assert not {
        str(path.relative_to(ROOT)): length
        for path, length in lengths.items()
        if length > LINES_OF_A_MODULE
    }


def test_no_function_is_too_long() -> None:
    """A docstring is no part of it; a longer one says why on the line of its `def`."""
    long = {}
    for path in SOURCES:
        lines = path.read_text().splitlines()
        for node in ast.walk(ast.parse("\n".join(lines))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = (node.end_lineno or 0) - body[0].lineno + 1 if body else 0
                if length > LINES_OF_A_FUNCTION and "long:" not in lines[node.lineno - 1]:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = length
    assert not long

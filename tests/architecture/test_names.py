"""A name has one meaning in the whole house, and none that Python gave away already."""

import ast
import builtins
import collections.abc
import dataclasses
import enum
import sys
import typing
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOM_FOLDERS = ("events", "aws", "functions", "trainer", "cdk", "ops")
TAKEN = (builtins, typing, collections.abc, dataclasses, enum)


def _modules() -> Iterator[Path]:
    for folder in ROOM_FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


def _classes() -> dict[str, set[str]]:
    """Where each class is defined; a leading underscore makes no other name."""
    found = defaultdict[str, set[str]](set)
    for path in _modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                found[node.name.lstrip("_")].add(str(path.relative_to(ROOT)))
    return found


def test_no_class_name_has_two_meanings() -> None:
    twice = {name: sorted(places) for name, places in _classes().items() if len(places) > 1}
    assert not twice


def test_no_class_takes_a_name_that_python_gave_away() -> None:
    assert not {
        name: sorted(places)
        for name, places in _classes().items()
        if any(hasattr(module, name) for module in TAKEN)
    }


def test_no_module_hides_one_of_the_standard_library() -> None:
    assert not [
        str(path.relative_to(ROOT)) for path in _modules() if path.stem in sys.stdlib_module_names
    ]

"""Reads the properties of one resource and records which of them were read.

An unread property would be skipped silently, so its path is reported.
"""

from collections.abc import Iterator
from typing import Any

from pydantic import JsonValue

from ops.local.errors import AssemblyError
from ops.local.gateway.protocol import JsonObject

ApiArguments = dict[str, Any]
"""Arguments of an AWS client, by name; the client checks them."""

ApiStructure = Any
"""One structured argument of an AWS client, from the template; the client checks it."""


class PropertyReader:
    """Reads members of one object.

    Args:
        members: the object, resolved.
        path: its path in the template.
    """

    def __init__(self, members: JsonObject, path: str) -> None:
        self.path = path
        self._members = members
        self._read: set[str] = set()
        self._children: list[PropertyReader] = []

    def has(self, name: str) -> bool:
        """Whether a member is there; this does not mark it as read."""
        return name in self._members

    def raw(self, name: str) -> JsonValue:
        """A member with all below it; None if it is missing."""
        self._read.add(name)
        return self._members.get(name)

    def text(self, name: str, default: str = "") -> str:
        """A text; numbers and booleans are converted as CloudFormation does."""
        value = self.raw(name)
        if value is None:
            return default
        if isinstance(value, dict | list):
            raise AssemblyError(f"{self.path}.{name} must be a text.")
        return str(value).lower() if isinstance(value, bool) else str(value)

    def required(self, name: str) -> str:
        """A text that must not be missing."""
        if not self.has(name):
            raise AssemblyError(f"{self.path}.{name} is missing.")
        return self.text(name)

    def number(self, name: str) -> int | None:
        """An integer, which a template may write as a text."""
        text = self.text(name)
        try:
            return int(float(text)) if text else None
        except ValueError as error:
            raise AssemblyError(f"{self.path}.{name} must be a number, not {text!r}.") from error

    def flag(self, name: str) -> bool:
        """A boolean, which a template may write as a text."""
        return self.text(name) == "true"

    def texts(self, name: str) -> list[str]:
        """A list of texts."""
        value = self.raw(name)
        return [str(each) for each in value] if isinstance(value, list) else []

    def child(self, name: str) -> "PropertyReader":
        """A nested object; an empty one if it is missing."""
        value = self.raw(name) or {}
        if not isinstance(value, dict):
            raise AssemblyError(f"{self.path}.{name} must be an object.")
        return self._nested(value, f"{self.path}.{name}")

    def children(self, name: str) -> list["PropertyReader"]:
        """A list of nested objects."""
        value = self.raw(name) or []
        if not isinstance(value, list):
            raise AssemblyError(f"{self.path}.{name} must be an array.")
        readers = []
        for index, each in enumerate(value):
            if not isinstance(each, dict):
                raise AssemblyError(f"{self.path}.{name}[{index}] must be an object.")
            readers.append(self._nested(each, f"{self.path}.{name}[{index}]"))
        return readers

    def pick(self, *names: str) -> ApiArguments:
        """Those of some members that are not missing, unconverted."""
        picked = {name: self.raw(name) for name in names if self.has(name)}
        return {name: value for name, value in picked.items() if value is not None}

    def unread(self) -> list[str]:
        """Paths of the values that were not read."""
        own = [
            path
            for name, value in self._members.items()
            if name not in self._read
            for path in _leaves(value, f"{self.path}.{name}")
        ]
        return own + [path for child in self._children for path in child.unread()]

    def _nested(self, members: JsonObject, path: str) -> "PropertyReader":
        reader = PropertyReader(members, path)
        self._children.append(reader)
        return reader


def _leaves(value: JsonValue, path: str) -> Iterator[str]:
    if isinstance(value, dict) and value:
        for name, each in value.items():
            yield from _leaves(each, f"{path}.{name}")
    elif isinstance(value, list) and value:
        for index, each in enumerate(value):
            yield from _leaves(each, f"{path}[{index}]")
    else:
        yield path

"""Writes the little of ONNX's file format that a model's graph needs.

ONNX's own builder would bring 55 MB into the image (with ml_dtypes) for what is a page here. The
format is protocol buffers; the numbers of the fields are those of ``onnx.proto`` in ONNX's sources.
What may go wrong: a graph that makes no sense. Nothing is checked here, as the runtime checks all
of it before the first row is answered.
"""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain

import numpy as np
import numpy.typing as npt

MICROSOFT = "com.microsoft"
"""The domain of the runtime's own operators, such as a product with its relu in one."""

_IR_VERSION = 9
_OPSET = 18
_FLOAT, _INT64, DOUBLE = 1, 7, 11
"""Of ``TensorProto.DataType``."""
_KINDS: Mapping[type[np.generic], int] = {
    np.float32: _FLOAT,
    np.int64: _INT64,
    np.float64: DOUBLE,
}
_ATTRIBUTE_INT, _ATTRIBUTE_STRING = 2, 3
"""Of ``AttributeProto.AttributeType``."""

ROWS = "rows"
"""The name of the dimension that is another one in each request."""

Attribute = int | str

_KNOWN = 1024
"""Operations, and as many heads of constants, that are kept as bytes; a model has some sixty."""


class GraphWriter:
    """Collects constants and operations, and turns them into the bytes of a model."""

    def __init__(self) -> None:
        """Begin an empty graph."""
        self._nodes: list[bytes] = []
        self._constants: list[list[bytes]] = []
        self._inputs: list[bytes] = []
        self._outputs: list[bytes] = []

    def input(self, name: str, width: int) -> str:
        """Declare a float32 matrix of (rows, width) that each run gets."""
        self._inputs.append(_value(name, _FLOAT, width))
        return name

    def output(self, value: str, width: int, kind: type[np.generic] = np.float32) -> None:
        """Hand a value of (rows, width) out; it has to be of the ``kind`` that is told."""
        self._outputs.append(_value(value, _KINDS[kind], width))

    def constant(self, values: npt.ArrayLike, kind: type[np.generic] = np.float32) -> str:
        """Keep an array in the graph."""
        array = np.ascontiguousarray(values, dtype=kind)
        name = f"constant{len(self._constants)}"
        head = _constant_head(np.shape(values), _KINDS[kind], name)
        self._constants.append([head, *_framed(9, [array.tobytes()])])
        return name

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Attribute) -> str:
        """Add an operation with one result, and say what the result is called."""
        return self.add_several(operator, *inputs, results=1, domain=domain, **attributes)[0]

    def add_several(
        self, operator: str, *inputs: str, results: int, domain: str = "", **attributes: Attribute
    ) -> list[str]:
        """The same with as many results as are told."""
        names = [f"value{len(self._nodes)}.{place}" for place in range(results)]
        told = tuple(attributes.items())
        self._nodes.append(_node(operator, inputs, tuple(names), told, domain))
        return names

    def model(self) -> bytes:
        """The whole as the bytes of an ONNX file."""
        graph = [
            *self._nodes,
            _text(2, "model"),
            *chain.from_iterable(_framed(5, constant) for constant in self._constants),
            *(_bytes(11, value) for value in self._inputs),
            *(_bytes(12, value) for value in self._outputs),
        ]
        return b"".join(
            [
                _number(1, _IR_VERSION),
                *_framed(7, graph),
                _bytes(8, _number(2, _OPSET)),
                _bytes(8, _text(1, MICROSOFT) + _number(2, 1)),
            ]
        )


# A server of many models writes the same operations for each, with other constants.
@lru_cache(maxsize=_KNOWN)
def _node(
    operator: str,
    inputs: tuple[str, ...],
    outputs: tuple[str, ...],
    attributes: tuple[tuple[str, Attribute], ...],
    domain: str,
) -> bytes:
    node = b"".join(
        [
            *(_text(1, name) for name in inputs),
            *(_text(2, name) for name in outputs),
            _text(4, operator),
            *(_bytes(5, _attribute(name, value)) for name, value in attributes),
            _text(7, domain),
        ]
    )
    return _bytes(1, node)


@lru_cache(maxsize=_KNOWN)
def _constant_head(shape: tuple[int, ...], kind: int, name: str) -> bytes:
    return b"".join(_number(1, length) for length in shape) + _number(2, kind) + _text(8, name)


def _attribute(name: str, value: Attribute) -> bytes:
    if isinstance(value, str):
        return _text(1, name) + _text(4, value) + _number(20, _ATTRIBUTE_STRING)
    return _text(1, name) + _number(3, value) + _number(20, _ATTRIBUTE_INT)


@lru_cache(maxsize=_KNOWN)
def _value(name: str, kind: int, width: int) -> bytes:
    shape = _bytes(1, _text(2, ROWS)) + _bytes(1, _number(1, width))
    tensor = _number(1, kind) + _bytes(2, shape)
    return _text(1, name) + _bytes(2, _bytes(1, tensor))


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _text(field: int, value: str) -> bytes:
    return _bytes(field, value.encode())


def _bytes(field: int, value: bytes) -> bytes:
    return b"".join(_framed(field, [value]))


def _framed(field: int, parts: Sequence[bytes]) -> list[bytes]:
    """A field whose content is in parts, which are large and not copied here."""
    return [_varint(field << 3 | 2), _varint(sum(map(len, parts))), *parts]


def _varint(value: int) -> bytes:
    """Seven bits a byte, the least first; all but the last say that there is more."""
    parts = bytearray()
    while value > 0x7F:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)

"""Writes a model's graph in the runtime's own file format, a FlatBuffer (LiteRT's ``schema.fbs``).

A server of many models writes the same operations for each, with other shapes and constants. So the
common skeleton is laid out once; shapes are written over it, and the constants are appended, as the
format allows for large files. Nothing is validated here: the runtime validates a graph before it
answers the first row.
"""

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import flatbuffers  # type: ignore[import-untyped]  # it has no types
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema  # type: ignore[import-untyped]  # nor this

_VERSION = 3
_IDENTIFIER = b"TFL3"
_ALIGNED_BYTES = 16
"""Where a constant begins, as the format asks for ("force_align")."""
_CACHED_LAYOUTS = 64
"""Skeletons whose layout is kept; a server's models have few, of some 20 kB each."""
_ANY_LENGTH = -1
"""A length that is only known in each run."""
_LENGTH = struct.Struct("<Q")
_SHAPE, _SHAPE_SIGNATURE = 4, 18
_OFFSET, _SIZE = 6, 8
"""Fields of the format's tables, by their offsets in the vtable."""
FROM_MINUS_ONE_TO_ONE: int = schema.ActivationFunctionType.RELU_N1_TO_1
"""As ``fusedActivationFunction``: clips values."""

_OPERATIONS = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions


class _Tensor(NamedTuple):
    dimensions: int
    is_integer: bool
    """32-bit integers; otherwise single precision."""
    constant: int
    """The number of the constant, from 1; 0 for a computed value."""


class _Operation(NamedTuple):
    name: str
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    options: tuple[tuple[str, int | float | bool], ...]


class _GraphSkeleton(NamedTuple):
    """A graph without shapes and constants."""

    tensors: tuple[_Tensor, ...]
    operations: tuple[_Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: int


class _Layout(NamedTuple):
    """The bytes of a skeleton, and the offsets of what is filled in."""

    content: bytes
    shapes: tuple[tuple[int, ...], ...]
    """For each tensor the offset of its shape, and of its shape before a run if that differs."""
    constants: tuple[tuple[int, int], ...]
    """For each constant the offsets of the fields that hold its start and its length."""


@dataclass(frozen=True, slots=True)
class Value:
    """A value in the graph: rows of some shape."""

    number: int
    shape: tuple[int, ...]
    """The shape of one row."""


class GraphWriter:
    """Collects constants and operations, and turns them into the bytes of a model.

    Every value has as many rows as the input of a run; shapes are those of one row.
    """

    def __init__(self) -> None:
        """Start an empty graph."""
        self._tensors: list[_Tensor] = []
        self._shapes: list[tuple[int, ...]] = []
        self._operations: list[_Operation] = []
        self._constants: list[npt.NDArray[Any]] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []

    def input(self, *shape: int) -> Value:
        """Declare the input of each run."""
        value = self._value(shape)
        self._inputs.append(value.number)
        return value

    def output(self, value: Value) -> int:
        """Make a value an output; returns its number among the outputs."""
        self._outputs.append(value.number)
        return len(self._outputs) - 1

    def add(self, name: str, *inputs: Value | npt.ArrayLike, **options: float) -> Value:
        """Add an elementwise operation; inputs that are not values become constants of the row.

        Args:
            name: of the operation in the format, such as ``MUL``.
            inputs: values or constants, broadcast as in NumPy.
            options: of the operation in the format, such as ``fusedActivationFunction``.
        """
        values = [each if isinstance(each, Value) else self._row(each) for each in inputs]
        shape = np.broadcast_shapes(*(value.shape for value in values))
        return self._operate(name, values, shape, **options)

    def concatenate(self, *values: Value) -> Value:
        """Values concatenated along their first axis in the row."""
        shape = (sum(value.shape[0] for value in values), *values[0].shape[1:])
        return self._operate("CONCATENATION", values, shape, axis=1)

    def halves(self, value: Value) -> tuple[Value, Value]:
        """The two halves of (width,)."""
        half = (value.shape[0] // 2,)
        axis = self._constant(np.array(1, dtype=np.int32))
        first, second = self._value(half), self._value(half)
        self._add("SPLIT", [axis, value.number], [first.number, second.number], numSplits=2)
        return first, second

    def largest(self, value: Value) -> Value:
        """(1,): the largest of (width,)."""
        axes = self._constant(np.array([1], dtype=np.int32))
        result = self._value((1,))
        self._add("REDUCE_MAX", [value.number, axes], [result.number], keepDims=True)
        return result

    def dense(
        self,
        value: Value,
        weight: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        *,
        relu: bool = False,
    ) -> Value:
        """A row times (inputs, outputs) weights, plus biases, with relu or without."""
        # The format has one row of weights per output.
        transposed = np.asarray(weight, dtype=np.float32).T
        places = [value.number, self._constant(transposed)]
        if bias is not None:
            places.append(self._constant(np.asarray(bias, dtype=np.float32)))
        result = self._value((len(transposed),))
        activation = schema.ActivationFunctionType.RELU if relu else 0
        self._add("FULLY_CONNECTED", places, [result.number], fusedActivationFunction=activation)
        return result

    def model(self) -> bytes:
        """The graph as the bytes of a file."""
        layout = _layout(
            _GraphSkeleton(
                tuple(self._tensors),
                tuple(self._operations),
                tuple(self._inputs),
                tuple(self._outputs),
                len(self._constants),
            )
        )
        content = bytearray(layout.content)
        for places, shape in zip(layout.shapes, self._shapes, strict=True):
            known = shape, (_ANY_LENGTH, *shape[1:])
            for place, lengths in zip(places, known, strict=False):
                struct.pack_into(f"<{len(lengths)}i", content, place, *lengths)
        for places, constant in zip(layout.constants, self._constants, strict=True):
            content.extend(bytes(-len(content) % _ALIGNED_BYTES))
            for place, number in zip(places, (len(content), constant.nbytes), strict=True):
                _LENGTH.pack_into(content, place, number)
            content.extend(constant.data.cast("B"))
        return bytes(content)

    def _operate(
        self, name: str, values: Sequence[Value], shape: tuple[int, ...], **options: float
    ) -> Value:
        result = self._value(shape)
        self._add(name, [value.number for value in values], [result.number], **options)
        return result

    def _add(
        self, name: str, inputs: Sequence[int], results: Sequence[int], **options: float
    ) -> None:
        operation = _Operation(name, tuple(inputs), tuple(results), tuple(options.items()))
        self._operations.append(operation)

    def _value(self, shape: tuple[int, ...]) -> Value:
        return Value(self._tensor((1, *shape), is_integer=False, constant=0), shape)

    def _row(self, values: npt.ArrayLike) -> Value:
        array = np.asarray(values, dtype=np.float32)
        return Value(self._constant(array[np.newaxis]), array.shape)

    def _constant(self, array: npt.NDArray[Any]) -> int:
        self._constants.append(np.ascontiguousarray(array))
        is_integer = array.dtype == np.int32
        return self._tensor(array.shape, is_integer=is_integer, constant=len(self._constants))

    def _tensor(self, shape: tuple[int, ...], *, is_integer: bool, constant: int) -> int:
        self._tensors.append(_Tensor(len(shape), is_integer, constant))
        self._shapes.append(shape)
        return len(self._tensors) - 1


@lru_cache(maxsize=_CACHED_LAYOUTS)
def _layout(skeleton: _GraphSkeleton) -> _Layout:
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(tensor) for tensor in skeleton.tensors]
    names = list(dict.fromkeys(operation.name for operation in skeleton.operations))
    graph.operators = [
        _operator(operation, names.index(operation.name)) for operation in skeleton.operations
    ]
    graph.inputs, graph.outputs = list(skeleton.inputs), list(skeleton.outputs)
    file = schema.ModelT()
    file.version = _VERSION
    file.subgraphs = [graph]
    file.operatorCodes = [_code(name) for name in names]
    # By the format the first buffer is empty, and tensors that name it have no constant.
    file.buffers = [schema.BufferT(), *(_buffer_placeholder() for _ in range(skeleton.constants))]
    builder = flatbuffers.Builder()
    builder.Finish(file.Pack(builder), _IDENTIFIER)
    content = bytes(builder.Output())
    read = schema.Model.GetRootAs(content)
    tensors = map(read.Subgraphs(0).Tensors, range(len(skeleton.tensors)))
    buffers = map(read.Buffers, range(1, skeleton.constants + 1))
    return _Layout(
        content,
        tuple(tuple(_vectors(tensor, _SHAPE, _SHAPE_SIGNATURE)) for tensor in tensors),
        tuple((_place(buffer, _OFFSET), _place(buffer, _SIZE)) for buffer in buffers),
    )


def _tensor(tensor: _Tensor) -> Any:
    table = schema.TensorT()
    table.shape = [0] * tensor.dimensions
    if not tensor.constant:
        table.shapeSignature = [0] * tensor.dimensions
    table.type = schema.TensorType.INT32 if tensor.is_integer else schema.TensorType.FLOAT32
    table.buffer = tensor.constant
    return table


def _operator(operation: _Operation, code: int) -> Any:
    table = schema.OperatorT()
    table.opcodeIndex = code
    table.inputs, table.outputs = list(operation.inputs), list(operation.results)
    title = "".join(part.capitalize() for part in operation.name.split("_"))
    kind = f"{_OPTIONS_OF.get(operation.name, title)}Options"
    # An operation without options has no such type in the format.
    if hasattr(_OPTIONS, kind):
        table.builtinOptionsType = getattr(_OPTIONS, kind)
        table.builtinOptions = getattr(schema, f"{kind}T")(**dict(operation.options))
    return table


_OPTIONS_OF = {"REDUCE_MAX": "Reducer", "MAXIMUM": "MaximumMinimum"}
"""Option types that are not named like their operation."""


def _code(name: str) -> Any:
    table = schema.OperatorCodeT()
    table.version = 1
    table.builtinCode = getattr(_OPERATIONS, name)
    # Readers from before the format had 127 operations look here.
    table.deprecatedBuiltinCode = min(table.builtinCode, 127)
    return table


def _buffer_placeholder() -> Any:
    table = schema.BufferT()
    # Anything but 0, which the format would leave out.
    table.offset = table.size = _ALIGNED_BYTES
    return table


def _place(table: Any, field: int) -> int:
    """The offset of a table's number in the file."""
    return int(table._tab.Pos + table._tab.Offset(field))  # noqa: SLF001 - how generated code reads


def _vectors(table: Any, *fields: int) -> Iterator[int]:
    """The offsets of a table's vectors, of those that it has."""
    for field in fields:
        if table._tab.Offset(field):  # noqa: SLF001 - as above
            yield int(table._tab.Vector(table._tab.Offset(field)))  # noqa: SLF001 - as above

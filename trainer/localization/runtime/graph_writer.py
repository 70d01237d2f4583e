"""Writes a model's graph in the runtime's own file format, a FlatBuffer (LiteRT's ``schema.fbs``).

A server of many models writes the same operations for each, with other shapes and constants. So
what they have in common is laid out once; shapes are written over it, and the constants lie behind
it, as the format allows where a file would grow too large. What may go wrong: a graph that makes no
sense. Nothing is checked here, as the runtime checks all of it before the first row is answered.
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
_KNOWN = 64
"""Plans that are kept laid out; a server's models have few, of some 20 kB each."""
_EVERY = -1
"""A length that is another one in each run."""
_LENGTH = struct.Struct("<Q")
_SHAPE, _SHAPE_SIGNATURE = 4, 18
_OFFSET, _SIZE = 6, 8
"""Fields of the format's tables, by their places there."""
FROM_MINUS_ONE_TO_ONE: int = schema.ActivationFunctionType.RELU_N1_TO_1
"""As ``fusedActivationFunction``: what is below or above is cut."""

_OPERATIONS = schema.BuiltinOperator
_OPTIONS = schema.BuiltinOptions


class _Tensor(NamedTuple):
    dimensions: int
    is_whole: bool
    """A whole number of 32 bits; else a single-precision one."""
    constant: int
    """The number of the constant, from 1; 0 for what is computed."""


class _Operation(NamedTuple):
    name: str
    inputs: tuple[int, ...]
    results: tuple[int, ...]
    options: tuple[tuple[str, int | float | bool], ...]


class _GraphSkeleton(NamedTuple):
    """All of a graph but shapes and constants."""

    tensors: tuple[_Tensor, ...]
    operations: tuple[_Operation, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    constants: int


class _Layout(NamedTuple):
    """The bytes of a plan, and where what is still open goes."""

    content: bytes
    shapes: tuple[tuple[int, ...], ...]
    """Of each tensor where its shape is, and where what is known of it before a run, if anything is
    not."""
    constants: tuple[tuple[int, int], ...]
    """Of each constant where it is told to begin, and how long it is told to be."""


@dataclass(frozen=True, slots=True)
class Value:
    """What stands at one place of the graph: rows of some shape."""

    number: int
    shape: tuple[int, ...]
    """Of one row."""


class GraphWriter:
    """Collects constants and operations, and turns them into the bytes of a model.

    Every value has as many rows as the input of the run; what is told of shapes is of one row.
    """

    def __init__(self) -> None:
        """Begin an empty graph."""
        self._tensors: list[_Tensor] = []
        self._shapes: list[tuple[int, ...]] = []
        self._operations: list[_Operation] = []
        self._constants: list[npt.NDArray[Any]] = []
        self._inputs: list[int] = []
        self._outputs: list[int] = []

    def input(self, *shape: int) -> Value:
        """Declare what each run gets."""
        value = self._value(shape)
        self._inputs.append(value.number)
        return value

    def output(self, value: Value) -> int:
        """Hand a value out; says which number it has among the outputs."""
        self._outputs.append(value.number)
        return len(self._outputs) - 1

    def add(self, name: str, *inputs: Value | npt.ArrayLike, **options: float) -> Value:
        """Add an operation of numbers by themselves; what is no value yet is a constant of the row.

        Args:
            name: of the operation in the format, such as ``MUL``.
            inputs: values or constants that are stretched over each other as NumPy does.
            options: of the operation in the format, such as ``fusedActivationFunction``.
        """
        values = [each if isinstance(each, Value) else self._row(each) for each in inputs]
        shape = np.broadcast_shapes(*(value.shape for value in values))
        return self._operate(name, values, shape, **options)

    def concatenate(self, *values: Value) -> Value:
        """Values one behind the other along their first axis in the row."""
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
        found = self._value((1,))
        self._add("REDUCE_MAX", [value.number, axes], [found.number], keepDims=True)
        return found

    def dense(
        self,
        value: Value,
        weight: npt.ArrayLike,
        bias: npt.ArrayLike | None = None,
        *,
        relu: bool = False,
    ) -> Value:
        """All of a row by (inputs, outputs) weights, plus biases, cut at 0 or not."""
        # The format has a row for each output.
        transposed = np.asarray(weight, dtype=np.float32).T
        places = [value.number, self._constant(transposed)]
        if bias is not None:
            places.append(self._constant(np.asarray(bias, dtype=np.float32)))
        found = self._value((len(transposed),))
        activation = schema.ActivationFunctionType.RELU if relu else 0
        self._add("FULLY_CONNECTED", places, [found.number], fusedActivationFunction=activation)
        return found

    def model(self) -> bytes:
        """The whole as the bytes of a file."""
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
            known = shape, (_EVERY, *shape[1:])
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
        found = self._value(shape)
        self._add(name, [value.number for value in values], [found.number], **options)
        return found

    def _add(
        self, name: str, inputs: Sequence[int], results: Sequence[int], **options: float
    ) -> None:
        told = tuple(options.items())
        self._operations.append(_Operation(name, tuple(inputs), tuple(results), told))

    def _value(self, shape: tuple[int, ...]) -> Value:
        return Value(self._tensor((1, *shape), is_whole=False, constant=0), shape)

    def _row(self, values: npt.ArrayLike) -> Value:
        array = np.asarray(values, dtype=np.float32)
        return Value(self._constant(array[np.newaxis]), array.shape)

    def _constant(self, array: npt.NDArray[Any]) -> int:
        self._constants.append(np.ascontiguousarray(array))
        is_whole = array.dtype == np.int32
        return self._tensor(array.shape, is_whole=is_whole, constant=len(self._constants))

    def _tensor(self, shape: tuple[int, ...], *, is_whole: bool, constant: int) -> int:
        self._tensors.append(_Tensor(len(shape), is_whole, constant))
        self._shapes.append(shape)
        return len(self._tensors) - 1


@lru_cache(maxsize=_KNOWN)
def _layout(plan: _GraphSkeleton) -> _Layout:
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(tensor) for tensor in plan.tensors]
    names = list(dict.fromkeys(operation.name for operation in plan.operations))
    graph.operators = [
        _operator(operation, names.index(operation.name)) for operation in plan.operations
    ]
    graph.inputs, graph.outputs = list(plan.inputs), list(plan.outputs)
    file = schema.ModelT()
    file.version = _VERSION
    file.subgraphs = [graph]
    file.operatorCodes = [_code(name) for name in names]
    # The first is nobody's: by the format whatever names it has no constant.
    file.buffers = [schema.BufferT(), *(_buffer_placeholder() for _ in range(plan.constants))]
    builder = flatbuffers.Builder()
    builder.Finish(file.Pack(builder), _IDENTIFIER)
    content = bytes(builder.Output())
    read = schema.Model.GetRootAs(content)
    tensors = map(read.Subgraphs(0).Tensors, range(len(plan.tensors)))
    buffers = map(read.Buffers, range(1, plan.constants + 1))
    return _Layout(
        content,
        tuple(tuple(_vectors(tensor, _SHAPE, _SHAPE_SIGNATURE)) for tensor in tensors),
        tuple((_place(buffer, _OFFSET), _place(buffer, _SIZE)) for buffer in buffers),
    )


def _tensor(tensor: _Tensor) -> Any:
    told = schema.TensorT()
    told.shape = [0] * tensor.dimensions
    if not tensor.constant:
        told.shapeSignature = [0] * tensor.dimensions
    told.type = schema.TensorType.INT32 if tensor.is_whole else schema.TensorType.FLOAT32
    told.buffer = tensor.constant
    return told


def _operator(operation: _Operation, code: int) -> Any:
    told = schema.OperatorT()
    told.opcodeIndex = code
    told.inputs, told.outputs = list(operation.inputs), list(operation.results)
    title = "".join(part.capitalize() for part in operation.name.split("_"))
    kind = f"{_OPTIONS_OF.get(operation.name, title)}Options"
    # Operations without any have none in the format either.
    if hasattr(_OPTIONS, kind):
        told.builtinOptionsType = getattr(_OPTIONS, kind)
        told.builtinOptions = getattr(schema, f"{kind}T")(**dict(operation.options))
    return told


_OPTIONS_OF = {"REDUCE_MAX": "Reducer", "MAXIMUM": "MaximumMinimum"}
"""Where they are not called like the operation."""


def _code(name: str) -> Any:
    told = schema.OperatorCodeT()
    told.version = 1
    told.builtinCode = getattr(_OPERATIONS, name)
    # Where readers of before there were 127 operations look.
    told.deprecatedBuiltinCode = min(told.builtinCode, 127)
    return told


def _buffer_placeholder() -> Any:
    told = schema.BufferT()
    # Anything but 0, which would not be written down.
    told.offset = told.size = _ALIGNED_BYTES
    return told


def _place(table: Any, field: int) -> int:
    """Where a number of a table lies in the file."""
    return int(table._tab.Pos + table._tab.Offset(field))  # noqa: SLF001 - how generated code reads


def _vectors(table: Any, *fields: int) -> Iterator[int]:
    """Where the vectors of a table begin, of those that it has."""
    for field in fields:
        if table._tab.Offset(field):  # noqa: SLF001 - as above
            yield int(table._tab.Vector(table._tab.Offset(field)))  # noqa: SLF001 - as above

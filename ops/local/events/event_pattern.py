"""EventBridge event patterns: compiled once, then matched against events.

A pattern matches if, for every field, some value of the event's field matches. An unknown operator
is an error at once: a pattern that silently matched everything or nothing would be worse.
Source: the EventBridge user guide, "Comparison operators for use in event patterns".
"""

import ipaddress
import json
import re
from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise

from pydantic import JsonValue

from ops.local.errors import InvalidEventPatternError

Scalar = str | int | float | bool | None
Test = Callable[[Scalar], bool]
Matcher = Callable[[JsonValue], bool]

_COMPARISONS: Mapping[str, Callable[[float, float], bool]] = {
    "=": lambda value, bound: value == bound,
    "<": lambda value, bound: value < bound,
    "<=": lambda value, bound: value <= bound,
    ">": lambda value, bound: value > bound,
    ">=": lambda value, bound: value >= bound,
}


class EventPattern:
    """One compiled pattern.

    Args:
        text: the pattern as JSON.

    Raises:
        InvalidEventPatternError: it is no JSON object, or EventBridge would refuse it; the text
            names the field.
    """

    def __init__(self, text: str) -> None:
        try:
            pattern = json.loads(text)
        except json.JSONDecodeError as error:
            raise InvalidEventPatternError(f"it is not JSON: {error}") from error
        if not isinstance(pattern, dict):
            raise InvalidEventPatternError("it must be a JSON object")
        self._matches = _compile_object(pattern, "")

    def matches(self, event: JsonValue) -> bool:
        """Whether the event, as EventBridge delivers it, matches."""
        return self._matches(event)


def _compile_object(pattern: Mapping[str, JsonValue], path: str) -> Matcher:
    if not pattern:
        raise InvalidEventPatternError(f"an empty object is not allowed{_at(path)}")
    fields = [
        _compile_or(value, path)
        if name == "$or"
        else _compile_field(name, value, f"{path}.{name}".lstrip("."))
        for name, value in pattern.items()
    ]
    return lambda event: all(field(event) for field in fields)


def _compile_or(alternatives: JsonValue, path: str) -> Matcher:
    if not isinstance(alternatives, list) or not alternatives:
        raise InvalidEventPatternError(f"$or must be a non-empty array of objects{_at(path)}")
    matchers = []
    for alternative in alternatives:
        if not isinstance(alternative, dict):
            raise InvalidEventPatternError(f"$or must hold objects only{_at(path)}")
        matchers.append(_compile_object(alternative, path))
    return lambda event: any(matcher(event) for matcher in matchers)


def _compile_field(name: str, value: JsonValue, path: str) -> Matcher:
    if isinstance(value, dict):
        inner = _compile_object(value, path)
        return lambda event: any(inner(child) for child in _children(event, name))
    if not isinstance(value, list):
        raise InvalidEventPatternError(f'"{name}" must be an object or an array{_at(path)}')
    if not value:
        raise InvalidEventPatternError(f"an empty array is not allowed{_at(path)}")
    tests = [_compile_leaf(alternative, path) for alternative in value]
    return lambda event: any(test(_scalars(event, name)) for test in tests)


def _children(event: JsonValue, name: str) -> list[JsonValue]:
    """The values that a nested pattern is matched against; None stands for a missing field."""
    if not isinstance(event, dict) or name not in event:
        return [None]
    value = event[name]
    return value if isinstance(value, list) and value else [value]


def _scalars(event: JsonValue, name: str) -> list[Scalar]:
    """The leaf values of a field: none if it is missing, an object or an empty array."""
    return list(_leaves(event[name])) if isinstance(event, dict) and name in event else []


def _leaves(value: JsonValue) -> Iterator[Scalar]:
    if isinstance(value, list):
        for element in value:
            yield from _leaves(element)
    elif not isinstance(value, dict):
        yield value


def _compile_leaf(alternative: JsonValue, path: str) -> Callable[[list[Scalar]], bool]:
    if isinstance(alternative, dict) and set(alternative) == {"exists"}:
        wanted = alternative["exists"]
        if not isinstance(wanted, bool):
            raise InvalidEventPatternError(f"exists must be true or false{_at(path)}")
        return lambda values: bool(values) is wanted
    test = _compile_test(alternative, path)
    return lambda values: any(test(value) for value in values)


def _compile_test(alternative: JsonValue, path: str) -> Test:
    if isinstance(alternative, list):
        raise InvalidEventPatternError(f"arrays can't be nested{_at(path)}")
    if not isinstance(alternative, dict):
        return lambda value: _equal(value, alternative)
    if len(alternative) != 1:
        raise InvalidEventPatternError(f"only one operator is allowed in an object{_at(path)}")
    ((operator, operand),) = alternative.items()
    compile_operator = _OPERATORS.get(operator)
    if compile_operator is None:
        raise InvalidEventPatternError(f"Unrecognized match type {operator}{_at(path)}")
    return compile_operator(operand, path)


def _equal(value: Scalar, wanted: Scalar) -> bool:
    """JSON equality: 5 equals 5.0, but true is not 1, as it is in Python."""
    return isinstance(value, bool) is isinstance(wanted, bool) and value == wanted


def _prefix(operand: JsonValue, path: str) -> Test:
    text, fold = _text_or_ignoring_case(operand, path, "prefix")
    return lambda value: isinstance(value, str) and fold(value).startswith(text)


def _suffix(operand: JsonValue, path: str) -> Test:
    text, fold = _text_or_ignoring_case(operand, path, "suffix")
    return lambda value: isinstance(value, str) and fold(value).endswith(text)


def _text_or_ignoring_case(
    operand: JsonValue, path: str, operator: str
) -> tuple[str, Callable[[str], str]]:
    if isinstance(operand, dict) and set(operand) == {"equals-ignore-case"}:
        return _text(operand["equals-ignore-case"], path, operator).casefold(), str.casefold
    return _text(operand, path, operator), str


def _equals_ignore_case(operand: JsonValue, path: str) -> Test:
    text = _text(operand, path, "equals-ignore-case").casefold()
    return lambda value: isinstance(value, str) and value.casefold() == text


def _wildcard(operand: JsonValue, path: str) -> Test:
    expression = re.compile(_wildcard_expression(_text(operand, path, "wildcard"), path), re.DOTALL)
    return lambda value: isinstance(value, str) and expression.fullmatch(value) is not None


def _wildcard_expression(text: str, path: str) -> str:
    tokens = re.findall(r"\\[*\\]|.", text, re.DOTALL)
    if any(pair == ("*", "*") for pair in pairwise(tokens)):
        raise InvalidEventPatternError(f"consecutive wildcards are not allowed{_at(path)}")
    if "\\" in tokens:
        raise InvalidEventPatternError(f"a backslash may escape * and \\ only{_at(path)}")
    return "".join(".*" if each == "*" else re.escape(each[-1]) for each in tokens)


def _numeric(operand: JsonValue, path: str) -> Test:
    if not isinstance(operand, list) or len(operand) not in {2, 4}:
        raise InvalidEventPatternError(f"numeric wants one or two comparisons{_at(path)}")
    bounds = [_comparison(operand[at], operand[at + 1], path) for at in range(0, len(operand), 2)]
    return lambda value: _is_number(value) and all(bound(value) for bound in bounds)


def _comparison(operator: JsonValue, bound: JsonValue, path: str) -> Test:
    compare = _COMPARISONS.get(operator) if isinstance(operator, str) else None
    if compare is None:
        raise InvalidEventPatternError(f"Unrecognized numeric range operator {operator}{_at(path)}")
    if not isinstance(bound, int | float) or isinstance(bound, bool):
        raise InvalidEventPatternError(f"numeric wants a number after {operator}{_at(path)}")
    return lambda value: isinstance(value, int | float) and compare(value, bound)


def _is_number(value: Scalar) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _cidr(operand: JsonValue, path: str) -> Test:
    try:
        network = ipaddress.ip_network(_text(operand, path, "cidr"), strict=False)
    except ValueError as error:
        raise InvalidEventPatternError(f"{error}{_at(path)}") from error
    return lambda value: isinstance(value, str) and _in_network(value, network)


def _in_network(text: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    try:
        return ipaddress.ip_address(text) in network
    except ValueError:
        return False


def _anything_but(operand: JsonValue, path: str) -> Test:
    forbidden = _forbidden(operand, path)
    return lambda value: not any(test(value) for test in forbidden)


def _forbidden(operand: JsonValue, path: str) -> list[Test]:
    """The tests that must all fail: values, or one operator over one or more texts."""
    if not isinstance(operand, dict):
        return [_compile_test(each, path) for each in _plain_values(operand, path)]
    if len(operand) != 1:
        raise InvalidEventPatternError(f"only one operator is allowed in an object{_at(path)}")
    ((operator, inner),) = operand.items()
    if operator not in _NEGATABLE:
        raise InvalidEventPatternError(f"Unsupported anything-but pattern {operator}{_at(path)}")
    texts = inner if isinstance(inner, list) and inner else [inner]
    return [_OPERATORS[operator](text, path) for text in texts]


def _plain_values(operand: JsonValue, path: str) -> list[JsonValue]:
    values: list[JsonValue] = operand if isinstance(operand, list) else [operand]
    if not values or any(isinstance(value, dict | list) for value in values):
        raise InvalidEventPatternError(f"anything-but wants values or one operator{_at(path)}")
    return values


def _text(operand: JsonValue, path: str, operator: str) -> str:
    if not isinstance(operand, str) or not operand:
        raise InvalidEventPatternError(f"{operator} wants a non-empty string{_at(path)}")
    return operand


def _at(path: str) -> str:
    return f" at {path}" if path else ""


_OPERATORS: Mapping[str, Callable[[JsonValue, str], Test]] = {
    "prefix": _prefix,
    "suffix": _suffix,
    "equals-ignore-case": _equals_ignore_case,
    "wildcard": _wildcard,
    "numeric": _numeric,
    "cidr": _cidr,
    "anything-but": _anything_but,
}
_NEGATABLE = frozenset({"prefix", "suffix", "wildcard", "equals-ignore-case"})

"""Metric math of alarms: arithmetic, comparisons, ``IF`` and ``FILL`` over a period's values."""

import ast
import operator
from collections.abc import Callable, Mapping

_BINARY: Mapping[type[ast.AST], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}

Values = Mapping[str, float | None]


def evaluate(expression: str, values: Values) -> float | None:
    """The value of an expression; None where data are missing or a divisor is zero.

    Args:
        expression: such as ``IF(m1 > 0, 100 * m2 / m1, 0)``; its syntax is Python's, too.
        values: those of the period by id.

    Raises:
        ValueError: the expression uses what is not emulated.
    """
    try:
        return _value(ast.parse(expression.strip(), mode="eval").body, values)
    except SyntaxError as error:
        raise ValueError(f"{expression} is not emulated") from error


def _value(node: ast.expr, values: Values) -> float | None:  # noqa: PLR0911 - one for each form
    match node:
        case ast.Constant(value=int() | float() as number):
            return float(number)
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            negated = _value(operand, values)
            return None if negated is None else -negated
        case ast.BinOp(left=left, op=sign, right=right) if type(sign) in _BINARY:
            return _combine(type(sign), _value(left, values), _value(right, values))
        case ast.Compare(left=left, ops=[sign], comparators=[right]) if type(sign) in _BINARY:
            return _combine(type(sign), _value(left, values), _value(right, values))
        case ast.Call(func=ast.Name(id="FILL"), args=[filled, ast.Constant() as other]):
            value = _value(filled, values)
            return _value(other, values) if value is None else value
        case ast.Call(func=ast.Name(id="IF"), args=[condition, then, *otherwise]):
            holds = _value(condition, values)
            if holds is None:
                return None
            chosen = then if holds else next(iter(otherwise), None)
            return None if chosen is None else _value(chosen, values)
    raise ValueError(f"{ast.unparse(node)} is not emulated")


def _combine(sign: type[ast.AST], left: float | None, right: float | None) -> float | None:
    if left is None or right is None or (sign is ast.Div and right == 0):
        return None
    return float(_BINARY[sign](left, right))

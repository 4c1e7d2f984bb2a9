"""The calculator behind `calc`, the one tool that the embedded model knows."""

import ast
import operator
from collections.abc import Callable

OPERATIONS: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}


def calculate(expression: str) -> str:
    """The value of an arithmetic expression with + - * / and brackets, or what is wrong with it."""
    try:
        return f"{_value(ast.parse(expression, mode='eval').body):.12g}"
    except (SyntaxError, ValueError, ZeroDivisionError) as exc:
        return f"{expression!r} cannot be calculated: {exc}"


def _value(node: ast.expr) -> float:
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.BinOp(left, symbol, right) if type(symbol) in OPERATIONS:
            return OPERATIONS[type(symbol)](_value(left), _value(right))
        case ast.UnaryOp(ast.USub(), operand):
            return -_value(operand)
        case _:
            raise ValueError(f"{ast.unparse(node)} is no number and no + - * /")

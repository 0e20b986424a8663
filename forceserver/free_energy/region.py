"""Regions of CV space that users name: "up: p > 0.1 and abs(q) < 0.2"."""

import ast
import operator
from collections.abc import Mapping, Sequence
from functools import reduce

import numpy as np

from ..errors import InputError
from ..frame import Array
from .surface import Surface

_BINARY = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}
LONGEST, HIGHEST_POWER = 1000, 16
"""Characters of a condition, and exponents in it: text like 9**9**9 would be computed for ever."""

PARTS = (16, 4, 2)
"""Parts of the cell of a node along each variable, in one to three of them, that are inside a region or not."""

_COMPARE = {ast.Lt: operator.lt, ast.LtE: operator.le, ast.Gt: operator.gt, ast.GtE: operator.ge}
_OF_ONE = {"abs": np.abs, "sqrt": np.sqrt, "cos": np.cos, "sin": np.sin}
_OF_MANY = {"min": np.minimum, "max": np.maximum}


def parse_region(text: str, variables: Mapping[str, Array]) -> tuple[str, Array]:
    """The name and where it holds; `InputError` that says what is not understood.

    variables: values of one shape, by name.
    """
    name, colon, expression = text.partition(":")
    if not colon or not name.strip():
        raise InputError(f"a phase is NAME: CONDITION, as in 'up: {next(iter(variables))} > 0', not {text!r}")
    # names of variables may hold dots (phi.x); in the condition they stand as they are
    symbols = {f"v{k}_": n for k, n in enumerate(sorted(variables, key=len, reverse=True))}
    for symbol, n in symbols.items():
        if not n.isidentifier():
            expression = expression.replace(n, symbol)
    if len(expression) > LONGEST:
        raise InputError(f"phase {name.strip()}: its condition has more than {LONGEST} characters")
    try:
        tree = ast.parse(expression.strip(), mode="eval")
        mask = _truth(tree.body, {**variables, **{symbol: variables[n] for symbol, n in symbols.items()}})
    except (SyntaxError, ValueError, TypeError, ArithmeticError, RecursionError, MemoryError) as error:
        raise InputError(f"phase {name.strip()}: cannot understand {expression.strip()!r}: {error}") from error
    return name.strip(), np.broadcast_to(mask, next(iter(variables.values())).shape)


def _evaluate(node: ast.expr, values: dict[str, Array]) -> Array:
    match node:
        case ast.Constant(value=int() | float() as number):
            return np.asarray(float(number))
        case ast.Name(id=name) if name in values:
            return values[name]
        case ast.Name(id="pi"):
            return np.asarray(np.pi)
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_evaluate(operand, values)
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            return np.logical_not(_truth(operand, values))
        case ast.BinOp(left=base, op=ast.Pow(), right=ast.Constant(value=int() | float() as power)):
            if not 0 <= power <= HIGHEST_POWER:
                raise ValueError(f"{ast.unparse(node)}: exponents go from 0 to {HIGHEST_POWER}")
            return np.power(np.asarray(_evaluate(base, values), dtype=np.float64), power)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_evaluate(left, values), _evaluate(right, values))
        case ast.BoolOp(op=op, values=parts):
            join = np.logical_and if isinstance(op, ast.And) else np.logical_or
            return join.reduce(np.broadcast_arrays(*[_truth(part, values) for part in parts]))
        case ast.Compare(left=left, ops=ops, comparators=rights) if all(type(op) in _COMPARE for op in ops):
            sides = [_evaluate(side, values) for side in [left, *rights]]
            checks = [_COMPARE[type(op)](a, b) for op, a, b in zip(ops, sides, sides[1:], strict=False)]
            return np.logical_and.reduce(np.broadcast_arrays(*checks))
        case ast.Call(func=ast.Name(id=name), args=[argument], keywords=[]) if name in _OF_ONE:
            return _OF_ONE[name](_evaluate(argument, values))
        case ast.Call(func=ast.Name(id=name), args=[_, _, *_] as arguments, keywords=[]) if name in _OF_MANY:
            return reduce(_OF_MANY[name], [_evaluate(argument, values) for argument in arguments])
    raise ValueError(f"{ast.unparse(node)} is not allowed; there are {', '.join(n for n in values if n[-1] != '_')}")


def _truth(node: ast.expr, values: dict[str, Array]) -> Array:
    """The value of what must be true or false: a bare number or variable is a slip of the pen."""
    value = np.asarray(_evaluate(node, values))
    if value.dtype != bool:
        raise ValueError(f"{ast.unparse(node)} is a number, not a condition")
    return value


def named_regions(texts: Sequence[str], surface: Surface) -> dict[str, Array]:
    """The regions by name, as the share of the cell of every node that is inside.

    Nodes alone would move the border of a region by up to half an interval, beyond all error bars of its population.
    """
    parts = PARTS[len(surface.nodes) - 1]
    cells = [size for n in surface.values.shape for size in (n, parts)]
    within_cells = tuple(range(1, len(cells), 2))
    named = conditions(texts, _inside_cells(surface, parts))
    return {name: mask.reshape(cells).mean(axis=within_cells) for name, mask in named.items()}


def conditions(texts: Sequence[str], variables: Mapping[str, Array]) -> dict[str, Array]:
    """Where each of them holds, by name; `InputError` if two have one name."""
    found: dict[str, Array] = {}
    for text in texts:
        name, mask = parse_region(text, variables)
        if name in found:
            raise InputError(f"there are two phases {name}; give each a name of its own")
        found[name] = mask
    return found


def _inside_cells(surface: Surface, parts: int) -> dict[str, Array]:
    """The variables at so many places in every cell, at equal distances around its node."""
    places = []
    for variable, of_cells in zip(surface.variables, surface.nodes, strict=True):
        width = of_cells[1] - of_cells[0] if len(of_cells) > 1 else 0.0
        inside = (of_cells[:, None] + width * ((np.arange(parts) + 0.5) / parts - 0.5)).ravel()
        places.append(variable.wrapped(inside))
    return dict(zip(surface.names, np.meshgrid(*places, indexing="ij"), strict=True))

"""Which columns of COLVAR are the bias V, and which its c(t): found by what is printed, never by a guess."""

from collections.abc import Sequence

import numpy as np

from ..bias.hills import Hills
from ..errors import InputError
from .colvar import Colvar
from .summing import bias_of_hills, hills_before

ROWS, TOLERANCE = 40, 0.1
"""How many rows are compared with the hills, and how far their bias may be off (walkers read hills of others late)."""


def named_columns(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """What the user names: columns that are added, and those of c(t), `label.rct`, which are taken off."""
    shifts = [name for name in names if name.endswith(".rct")]
    return [name for name in names if name not in shifts], shifts


def columns_to_reweight_by(colvar: Colvar, source: str | None) -> tuple[list[str], list[str]]:
    """The same from the columns that there are. `InputError` where there are none or their meaning is not certain.

    source: what else is known of the bias: its "hills", its "kernels" or "state" (OPES), or None.
    """
    columns = colvar.bias_columns()
    if not columns:
        raise InputError(f"{colvar.path} has no column of a bias (label.bias or label.rbias); name it with --bias")
    shifts = colvar.shift_columns(columns) if source in ("hills", None) else []
    if shifts and source is None:
        rct = shifts[0]
        v = rct.removesuffix("rct") + "bias"
        raise InputError(
            f"{colvar.path} has {v} and {rct}: if they are METAD's, say --bias {','.join([*columns, *shifts])} "
            f"({rct} is taken off); if they are of OPES, --bias {','.join(columns)}"
        )
    certain = {f"{rct.removesuffix('rct')}bias" for rct in shifts}
    if moving := [name for name in colvar.moving(columns) if name not in certain]:
        label = moving[0].removesuffix(".bias")
        raise InputError(
            f"{colvar.path} has {moving[0]} and {label}.work, as of a moving restraint: rows of a driven run have no "
            f"weights of equilibrium; if it does not move, say --bias {','.join(columns)}"
        )
    return columns, shifts


def check_bias_of_hills(colvar: Colvar, columns: Sequence[str], hills: Hills) -> None:
    """`InputError` if none of the columns is the bias of these hills, so that their c(t) would be taken off nothing."""
    names = [variable.name for variable in hills.variables]
    if not hills.stretched or hills.interval or not set(names) <= set(colvar.fields):
        return
    rows = np.unique(np.linspace(len(colvar.rows) // 2, len(colvar.rows) - 1, ROWS).astype(int))
    before = hills_before(hills, colvar.rows[:, 0], colvar.runs)[rows]
    values = np.stack([colvar.column(name)[rows] for name in names], axis=1)
    right = bias_of_hills(hills, before, values)
    scale = np.sqrt(np.mean(right**2))
    off = [colvar.column(name)[rows] - right for name in columns]
    errors = np.sqrt(np.mean(np.square(off), axis=1))
    if errors.min() > TOLERANCE * scale:
        k = int(np.argmin(errors))
        worst = int(np.argmax(np.abs(off[k])))
        found, time = colvar.column(columns[k])[rows[worst]], colvar.rows[rows[worst], 0]
        raise InputError(
            f"{colvar.path}: no column is the bias of the hills; at time {time:g} they make "
            f"{right[worst]:.4g}, {columns[k]} is {found:.4g}. Print METAD's bias, give the "
            f"HILLS of this run, or say --bias {','.join(columns)} if it is right all the same"
        )

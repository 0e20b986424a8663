"""What the actions of a PLUMED input do to a bias: whether it grows, what a restart loses, what cannot be right."""

import re
from pathlib import Path

from ...errors import InputError
from .input import Action, keyword
from .written_files import written_files

FORGETFUL = {
    "EXTENDED_LAGRANGIAN": "the fictitious particle",
    "ABMD": "the closest approach so far",
    "EDS": "the averages of its period",
    "FISST": "the averages of its period",
    "MAXENT": "its multipliers",
    "VES_LINEAR_EXPANSION": "the averages of its optimiser",
    "VES_DELTA_F": "its coefficients",
}
"""Actions with a state that no file holds and a restart loses, found by restarts in the middle of runs."""

GROWING = ("METAD", "PBMETAD", "OPES_METAD", "OPES_METAD_EXPLORE", "OPES_EXPANDED", "MOVINGRESTRAINT")
"""Actions whose bias changes with time, in addition to those of FORGETFUL."""

ADDED_UP = {
    "ACCELERATION": "the acceleration factor",
    "CALC_WORK": "the work so far",
}
"""Flags of actions that add something up for COLVAR, from the start of PLUMED on; their bias is restarted exactly."""

AVERAGES = ("ACCUMULATE", "AVERAGE", "COLLECT_FRAMES", "HISTOGRAM", "MULTICOLVARDENS")
"""Actions that average over what PLUMED has seen since it was started."""

READ_AT_RESTART = ("GRID_RFILE", "GRID_RFILES", "STATE_RFILE", "DRR_RFILE")
"""Keywords that make PLUMED restart from a file that it rewrites from time to time, not from its hills."""

NEED_CHARGES = ("DIPOLE", "DHENERGY")
NEED_A_BOX = ("VOLUME", "CELL")

TIME_UNITS_PS = {"fs": 1e-3, "ps": 1.0, "ns": 1e3, "atomic": 2.418884326509e-5}


def check_actions(actions: list[Action], path: Path, has_charges: bool, is_periodic: bool) -> None:
    """`InputError` for input that PLUMED accepts but that makes it give wrong numbers, or hang, behind a bias."""
    has_extra_cv = any(action[0] == "EXTRACV" for action in actions)
    for action in actions:
        if has_extra_cv and keyword(action, "ADAPTIVE") == "GEOM":
            raise InputError(
                f"{path}: {action[0]} ADAPTIVE=GEOM needs derivatives by atoms, which no EXTRACV has; give SIGMA"
            )
        for name in READ_AT_RESTART:
            if keyword(action, name):
                raise InputError(
                    f"{path}: {action[0]} {name} takes a restart to the last time that this file was written, which "
                    "is not the last step; leave it out: PLUMED then restarts from FILE (a bias that is fixed is "
                    "read by EXTERNAL)"
                )
        if (action[0] in GROWING and keyword(action, "RESTART") == "NO") or action[:2] == ["RESTART", "NO"]:
            told = "RESTART NO" if action[0] == "RESTART" else f"{action[0]} RESTART=NO"
            raise InputError(
                f"{path}: {told} begins a new bias whenever this program is started again; leave "
                "it out (to begin a new bias, move the files of the old one away)"
            )
        if "WALKERS_MPI" in action:
            raise InputError(
                f"{path}: {action[0]} WALKERS_MPI needs walkers that are ranks of one MPI program, and here each is a "
                "program of its own; METAD and PBMETAD share hills by files (WALKERS_N, WALKERS_ID, WALKERS_DIR)"
            )
        if action[0] in NEED_CHARGES and not has_charges:
            raise InputError(f"{path}: {action[0]} needs charges, which are all zero; give charges_e of [bias]")
        if action[0] in NEED_A_BOX and not is_periodic:
            raise InputError(f"{path}: {action[0]} needs a cell, and nothing is periodic; see [structure] pbc")
    files = [Path(file).resolve() for file in written_files(actions)]
    if twice := [file for file in files if files.count(file) > 1]:
        raise InputError(
            f"{path}: {files.count(twice[0])} actions write to {twice[0].name}: PLUMED would rename the file of the "
            "first, and read that of the last for both at a restart; give each a FILE of its own"
        )


def forgotten(actions: list[Action]) -> list[str]:
    """What a restart of PLUMED loses, so that the bias is not the same as before."""
    found = [f"{action[0]} ({FORGETFUL[action[0]]})" for action in actions if action[0] in FORGETFUL]
    found += ["ADAPTIVE=DIFF (the spread)" for action in actions if keyword(action, "ADAPTIVE") == "DIFF"]
    is_opes = (action for action in actions if action[0] in ("OPES_METAD", "OPES_METAD_EXPLORE"))
    found += [f"{action[0]} without SIGMA (the spread)" for action in is_opes if _is_adaptive(action)]
    found += ["FREQUENCY_ADAPTIVE (the pace)" for action in actions if "FREQUENCY_ADAPTIVE" in action]
    found += [f"{action[0]} {flag} ({what})" for action in actions for flag, what in ADDED_UP.items() if flag in action]
    found += [f"{action[0]} (what it has averaged)" for action in actions if action[0] in AVERAGES]
    if any(action[0] == "PRINT" and re.search(r"work|\*", keyword(action, "ARG") or "") for action in actions):
        found += ["MOVINGRESTRAINT (the work so far)" for action in actions if action[0] == "MOVINGRESTRAINT"]
    found += [
        "OPES_EXPANDED without PRINT_STRIDE=1 (what it has learned since the last line of DELTAFS)"
        for action in actions
        if action[0] == "OPES_EXPANDED" and keyword(action, "PRINT_STRIDE") != "1"
    ]
    return found


def _is_adaptive(opes: Action) -> bool:
    return (keyword(opes, "SIGMA") or "ADAPTIVE").upper() == "ADAPTIVE"


def time_unit_ps(actions: list[Action]) -> float:
    """The unit of times in PLUMED's files: that of UNITS, a name or a number of ps."""
    given = next((keyword(action, "TIME") for action in actions if action[0] == "UNITS"), None) or "ps"
    try:
        return TIME_UNITS_PS.get(given) or float(given)
    except ValueError:
        return 1.0  # PLUMED will say so


def written_in_updates(actions: list[Action]) -> list[str]:
    """Names of the actions that only write files."""
    return sorted({action[0] for action in actions if action[0] == "PRINT" or action[0].startswith("DUMP")})


def depend_on_time(actions: list[Action]) -> bool:
    """Whether the bias is another one after some steps."""
    return any(action[0] in GROWING or action[0] in FORGETFUL for action in actions)

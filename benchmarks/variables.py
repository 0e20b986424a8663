"""Collective variables of `[[cv]]`: coordination, order and power spectra beside PLUMED and featomic.

Values with all gradients and the strain derivative, after the atoms have moved. Copper: 2560 atoms, fcc, rattled by
0.05 A, switching function RATIONAL R_0=0.5 D_0=2.7 D_MAX=3.8. PLUMED restrains the mean over the same atoms, driven
through its Python wrapper; what that takes with a DISTANCE instead has been subtracted. Both have the same values to
1e-8 (`tests/peers/test_plumed_order.py`). Silicon: 512 atoms, rattled by 0.05 A, GTO, n_max 8, l_max 6, r_c 5 A, one
linear function of the normalised power spectrum. featomic computes the gradients of all features of the power spectrum,
which would still have to be multiplied by the weights; "of it: the spectrum" is ours without function and variable.
Processor time, the smallest of 7 (copper) or 25 rounds, one thread.
"""

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from ase import Atoms
from ase.build import bulk

from forceserver import _ext
from forceserver.bias.plumed.kernel import load_kernel
from forceserver.cv import build_variables, variable_section
from forceserver.cv.linear_functions import LinearFunctions
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis
from forceserver.representation.neighbours import NeighbourList

from .expansion import N_MAX, SIGMA, SKIN, WIDTH, featomic, radial_table, silicon
from .harness import Table, interleave
from .plumed import moving, session

SWITCH = {"kind": "rational", "r0_angstrom": 0.5, "d0_angstrom": 2.7, "d_max_angstrom": 3.8}
SAME_SWITCH = "SWITCH={RATIONAL R_0=0.05 D_0=0.27 D_MAX=0.38} MEAN"
"""That of PLUMED, in nm."""
COPPER = {
    "coordination": ({"kind": "coordination", "switch": SWITCH}, "COORDINATIONNUMBER"),
    "steinhardt, l = 4": ({"kind": "steinhardt", "switch": SWITCH, "l": 4}, "Q4"),
    "steinhardt, l = 6": ({"kind": "steinhardt", "switch": SWITCH, "l": 6}, "Q6"),
    "steinhardt, l = 6, local": ({"kind": "steinhardt", "switch": SWITCH, "l": 6, "outputs": ["mean_local"]}, None),
}
RATIOS, LIMITS = {"steinhardt, l = 6": 40.0}, {"power_spectrum": 6.0}
"""Goals: how many times faster than PLUMED; milliseconds."""


def copper() -> Atoms:
    atoms = bulk("Cu", a=3.61, cubic=True).repeat((8, 8, 10))
    atoms.rattle(0.05, seed=0)
    return atoms


def ours(atoms: Atoms, keys: dict) -> Callable[[], object]:
    """A call that computes the variable of all atoms."""
    symbol = atoms.symbols[0]
    section = variable_section({"name": "s", "centres": symbol, "neighbours": symbol, **keys})
    variable, following = build_variables([section], Frame.from_ase(atoms))["s"], moving(atoms)
    return lambda: variable.compute(following())


def power_spectrum(folder: Path) -> dict:
    """The keys of a function with random weights."""
    basis = GtoBasis(
        n_max=N_MAX,
        l_max=6,
        cutoff={"kind": "shifted_cosine", "cutoff_angstrom": 5.0, "width_angstrom": WIDTH},
        density={"kind": "gaussian", "sigma_angstrom": SIGMA},
    )
    weights = np.random.default_rng(0).normal(size=(1, 7 * N_MAX * (N_MAX + 1) // 2))
    LinearFunctions(basis, (14,), ("f",), weights, np.zeros(1)).save(folder / "weights.npz")
    return {"kind": "power_spectrum", "basis": basis.model_dump(), "weights": str(folder / "weights.npz")}


def spectrum(atoms: Atoms) -> Callable[[], object]:
    """A call that computes the same power spectrum, and pulls a derivative back."""
    basis = PowerSpectrumBasis(ExpansionBasis({14: radial_table(5.0, 6)}), normalise=True)
    neighbours = NeighbourList(atoms.numbers, 5.0, skin=SKIN)
    following, features = moving(atoms), PowerSpectrum(basis, neighbours)
    derivative = np.random.default_rng(0).normal(size=(len(atoms), len(basis)))

    def call() -> None:
        frame = following()
        neighbours.update(frame.positions, frame.cell)
        features.values()
        features.vjp(derivative)

    return call


def plumed_contenders(atoms: Atoms, folder: Path) -> dict[str, Callable[[], object]]:
    """PLUMED with each of its variables, and with none."""
    kernel = load_kernel()
    texts = {"nothing": "d: DISTANCE ATOMS=1,2\nRESTRAINT ARG=d AT=0 KAPPA=1\n"}
    for case, (_, action) in COPPER.items():
        if action:
            line = f"q: {action} SPECIES=1-{len(atoms)} {SAME_SWITCH}"
            texts[case] = f"{line}\nRESTRAINT ARG=q_mean AT=0 KAPPA=1\n"
    return {case: session(kernel, text, atoms, folder) for case, text in texts.items()}


def beside_plumed(quick: bool, folder: Path) -> Table:
    columns = ("2560 atoms of copper", "forceserver / ms", "PLUMED / ms", "PLUMED / forceserver", "goal")
    table, atoms = Table("Beside PLUMED", columns), copper()
    calls = {("ours", case): ours(atoms, keys) for case, (keys, _) in COPPER.items()}
    try:
        calls |= {("peer", case): call for case, call in plumed_contenders(atoms, folder).items()}
    except (ImportError, InputError) as error:
        table.note = f"PLUMED was left out: {error}"
    ms = smallest(calls, 3 if quick else 7)
    for case in COPPER:
        mine, theirs = ms["ours", case], ms.get(("peer", case))
        if theirs:
            theirs -= ms["peer", "nothing"]
        table.rows.append((case, mine, theirs, theirs / mine if theirs else None, RATIOS.get(case)))
    return table


def beside_featomic(quick: bool, folder: Path) -> Table:
    table, atoms = Table("Beside featomic", ("512 atoms of silicon", "ms", "goal / ms")), silicon()
    calls = {"power_spectrum": ours(atoms, power_spectrum(folder)), "of it: the spectrum": spectrum(atoms)}
    if peer := featomic("SoapPowerSpectrum", 5.0, 6, atoms, 14, 14, True):
        calls["featomic, the spectrum"] = peer
    else:
        table.note = "featomic was left out: it is not installed"
    table.rows += [(case, ms, LIMITS.get(case)) for case, ms in smallest(calls, 5 if quick else 25).items()]
    return table


def smallest(calls: dict, rounds: int) -> dict:
    """Milliseconds of processor time of every call."""
    return {key: 1e3 * timing.best for key, timing in interleave(calls, rounds, clock=time.process_time).items()}


def tables(quick: bool) -> Iterator[Table]:
    """One for each of the peers."""
    _ext.cpu.set_threads(1)
    with tempfile.TemporaryDirectory(prefix="fsbench-") as name:
        yield beside_plumed(quick, Path(name))
        yield beside_featomic(quick, Path(name))

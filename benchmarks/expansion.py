"""Spherical expansion, collective variables, SOAP and neighbour lists.

BaTiO3 (a = 4.0 A, rattled by 0.05 A), titanium centres, oxygen neighbours, r_c = 3.0 A; silicon with 512 atoms, rattled
by 0.05 A, r_c = 5.0 A, n_max 8, l_max 6. GTO with n_max = 8, sigma 0.3 A, cosine width 0.5 A, spline tolerance 1e-8;
our neighbour lists have a skin of 0.5 A and are reused; atoms move between two of our calls. Times are milliseconds:
the median over interleaved rounds and, in brackets, the smallest. One thread unless stated otherwise (featomic uses
threads only to share structures).
"""

import importlib.util
import os
import subprocess
from collections.abc import Callable, Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import vesin
from ase import Atoms
from ase.build import bulk

from forceserver import _ext
from forceserver.representation.cutoff import ShiftedCosine
from forceserver.representation.expansion import ExpansionBasis, SphericalExpansion
from forceserver.representation.gto import GtoBasis
from forceserver.representation.invariants import PowerSpectrum, PowerSpectrumBasis
from forceserver.representation.neighbours import NeighbourList, Selection
from forceserver.representation.spline import SplineTable
from forceserver.representation.vector_mean import VectorMean

from .harness import Table, Timing, interleave
from .harness.compiled import programs

TI, O, SI = 22, 8, 14
SIGMA, WIDTH, SKIN, N_MAX = 0.3, 0.5, 0.5, 8
SIZES = {2560: 8, 20_480: 16, 163_840: 32}
"""Atoms: cells along each direction."""


def barium_titanate(cells: int) -> Atoms:
    scaled = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]]
    atoms = Atoms("BaTiO3", cell=[4.0] * 3, pbc=True, scaled_positions=scaled).repeat(cells)
    atoms.rattle(0.05, seed=0)
    return atoms


def silicon() -> Atoms:
    atoms = bulk("Si", a=5.43, cubic=True).repeat(4)
    atoms.rattle(0.05, seed=0)
    return atoms


def radial_table(cutoff: float, l_max: int) -> SplineTable:
    smooth = ShiftedCosine(cutoff_angstrom=cutoff, width_angstrom=WIDTH)
    density = {"kind": "gaussian", "sigma_angstrom": SIGMA}
    return SplineTable.build(GtoBasis(n_max=N_MAX, l_max=l_max, cutoff=smooth, density=density), 1e-8)


def moving(atoms: Atoms) -> Iterator[np.ndarray]:
    """Positions that change from call to call, far less than the skin allows."""
    return cycle([atoms.positions, atoms.positions + 1e-3 * np.random.default_rng(0).normal(size=(len(atoms), 3))])


def titanium_oxygen(atoms: Atoms) -> NeighbourList:
    return NeighbourList(
        atoms.numbers, 3.0, skin=SKIN, centres=Selection(species=(TI,)), neighbours=Selection(species=(O,))
    )


def on_threads(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    def run():
        _ext.cpu.set_threads(threads)
        return call()

    return run


def featomic(kind: str, cutoff: float, l_max: int, atoms: Atoms, centre: int, neighbour: int, gradients: bool):
    """A call of featomic's calculator for one block of species, or None if it is not installed."""
    if importlib.util.find_spec("featomic") is None:
        return None
    import featomic as peer
    from metatensor import Labels

    calculator = getattr(peer, kind)(
        cutoff={"radius": cutoff, "smoothing": {"type": "ShiftedCosine", "width": WIDTH}},
        density={"type": "Gaussian", "width": SIGMA},
        basis={"type": "TensorProduct", "max_angular": l_max, "radial": {"type": "Gto", "max_radial": N_MAX - 1}},
    )
    if kind == "SphericalExpansion":
        names, values = ("o3_lambda", "o3_sigma", "center_type", "neighbor_type"), (1, 1, centre, neighbour)
    else:
        names, values = ("center_type", "neighbor_1_type", "neighbor_2_type"), (centre, neighbour, neighbour)
    keys = Labels(list(names), np.array([values]))
    system = peer.systems.AseSystem(atoms)
    return lambda: calculator.compute([system], gradients=["positions"] if gradients else None, selected_keys=keys)


def dscribe(atoms: Atoms, gradients: bool):
    if importlib.util.find_spec("dscribe") is None:
        return None
    from dscribe.descriptors import SOAP

    soap = SOAP(species=["Si"], r_cut=5.0, n_max=N_MAX, l_max=6, sigma=SIGMA, periodic=not gradients)
    if gradients:
        return lambda: soap.derivatives(atoms, method="analytical", return_descriptor=True)
    return lambda: soap.create(atoms)


def quip(atoms: Atoms, gradients: bool):
    if importlib.util.find_spec("quippy") is None or importlib.util.find_spec("f90wrap") is None:
        return None
    from quippy.descriptors import Descriptor

    soap = Descriptor(f"soap cutoff=5.0 cutoff_transition_width={WIDTH} n_max={N_MAX} l_max=6 atom_sigma={SIGMA} Z=14")
    return lambda: soap.calc(atoms, grad=gradients)


def times(contenders: dict[str, Callable | None], rounds: int) -> dict[str, Timing | None]:
    """Timings of those that are there."""
    measured = interleave({name: call for name, call in contenders.items() if call is not None}, rounds)
    return {name: measured.get(name) for name in contenders}


def cell(timing: Timing | None) -> str | None:
    return None if timing is None else f"{_digits(1e3 * timing.median)} ({_digits(1e3 * timing.best)})"


def _digits(value: float) -> str:
    return f"{value:.3f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:.0f}"


def vector_mean(quick: bool) -> Table:
    one = radial_table(3.0, 1).contract([np.zeros((0, N_MAX)), np.ones((1, N_MAX))])
    columns: dict[int, dict] = {}
    bytes_per_atom, limits = {}, {}
    for n_atoms, cells in list(SIZES.items())[: 1 if quick else None]:
        atoms = barium_titanate(cells)
        neighbours = titanium_oxygen(atoms)
        box = atoms.cell.array
        neighbours.update(atoms.positions, box)
        variable = VectorMean({O: one}, neighbours)
        positions = moving(atoms)

        def step(neighbours=neighbours, variable=variable, positions=positions, box=box):
            neighbours.update(next(positions), box)
            variable.compute()

        def track(neighbours=neighbours, positions=positions, box=box):
            neighbours.update(next(positions), box)

        columns[n_atoms] = times(
            {
                "value + gradient + virial": on_threads(1, step),
                "of it: is the list still complete?": on_threads(1, track),
                "value + gradient + virial, 2 threads": on_threads(2, step),
            },
            rounds=5 if quick else 60,
        )
        bytes_per_atom[n_atoms] = memory(neighbours, variable) / n_atoms
        limits[n_atoms] = limit(*work_of_mean(neighbours))
        assert neighbours.n_builds == 1
    rows = [[name, *(cell(columns[n][name]) for n in columns)] for name in next(iter(columns.values()))]
    first, scaled = rows[0][0], rows[2][0]
    rows += [
        ["ns per atom", *(1e9 * columns[n][first].best / n for n in columns)],
        ["two threads are faster by", *(columns[n][first].best / columns[n][scaled].best for n in columns)],
        ["bytes per atom beyond positions", *bytes_per_atom.values()],
        ["limit of one core: arithmetic", *(f"{1e3 * arithmetic:.4f}" for arithmetic, _ in limits.values())],
        ["limit of one core: memory", *(f"{1e3 * bandwidth:.4f}" for _, bandwidth in limits.values())],
    ]
    return Table(
        "l = 1, contracted to one radial function, mean over centres: value + gradient + virial, ms",
        ["", *(f"{n} atoms" for n in columns)],
        rows,
        limits_note(),
    )


def memory(neighbours: NeighbourList, variable: VectorMean) -> int:
    """Bytes of all arrays that a step needs besides the caller's positions."""
    arrays = [part for owner in (neighbours, variable) for part in vars(owner).values()]
    arrays += [*neighbours.transposed(), variable._result.gradient]
    return sum({id(part): part.nbytes for part in arrays if isinstance(part, np.ndarray)}.values())


def work_of_mean(neighbours: NeighbourList) -> tuple[float, float]:
    """Floating-point operations and bytes that must move, counted from the kernels (vector_mean.h, neighbours.pyx)."""
    pairs, sites = len(neighbours), len(neighbours.site_atom)
    flops = pairs * (6 + 5 + 2 + 14 + 6 + 9 + 6 + 23 + 6 + 6) + sites * 50
    # Track: positions, reference, offset, packed. Pairs: site, image, centre, G written and read once; gradients.
    moved = sites * (24 + 24 + 12 + 32 + 32 + 72 + 8) + pairs * (12 + 48 + 48 + 4)
    return flops, moved


def work_of_spectrum(pairs: int, centres: int, derivative: bool) -> tuple[float, float]:
    """The same for the power spectrum with n_max 8, l_max 6 (expansion.h, invariants.h)."""
    size, channels = 8 * 49, 56
    per_pair = 7 * channels + 200 + 2 * size
    per_centre = 2 * size * N_MAX
    moved = 8.0 * centres * (size + 252)
    if derivative:
        per_pair += 12 * channels + 1000 + 8 * size
        per_centre += 2 * size * N_MAX
        moved += 8.0 * centres * (2 * size + 252) + pairs * 64
    return pairs * per_pair + centres * per_centre, moved


_speeds: tuple[float, float] | None = None


def speeds() -> tuple[float, float]:
    """Of one core: operations per second of a matrix product, bytes per second of a + s b -> a from memory."""
    global _speeds
    if _speeds is None:
        from threadpoolctl import threadpool_limits

        with threadpool_limits(1):
            a = np.random.default_rng(0).random((768, 768))
            product = interleave({"": lambda: a @ a}, rounds=9)[""].best
        x, y = np.ones(1 << 24), np.ones(1 << 24)
        stream = interleave({"": lambda: np.add(x, y, out=x)}, rounds=9)[""].best
        _speeds = 2 * 768**3 / product, 3 * x.nbytes / stream
    return _speeds


def limit(flops: float, moved: float) -> tuple[float, float]:
    """Seconds that one core needs at least for so many operations, and for so many bytes from memory."""
    arithmetic, bandwidth = speeds()
    return flops / arithmetic, moved / bandwidth


def limits_note() -> str:
    arithmetic, bandwidth = speeds()
    return (
        f"Limits: operations and bytes counted from the kernels, against {arithmetic / 1e9:.0f} Gflop/s (a matrix "
        f"product) and {bandwidth / 1e9:.0f} GB/s (a stream through memory) of one core. Caches move more than memory."
    )


def sparse_gradients(quick: bool) -> Table:
    table = radial_table(3.0, 1).contract([np.zeros((0, N_MAX)), np.eye(N_MAX)])
    sizes = (2560,) if quick else (2560, 163_840)
    columns = []
    for n_atoms in sizes:
        atoms = barium_titanate(SIZES[n_atoms])
        neighbours = titanium_oxygen(atoms)
        neighbours.update(atoms.positions, atoms.cell.array)
        _ext.cpu.set_threads(2)  # work space is made for as many
        expansion = SphericalExpansion(ExpansionBasis({O: table}), neighbours)

        def ours(neighbours=neighbours, expansion=expansion, atoms=atoms, positions=moving(atoms), strain=False):
            neighbours.update(next(positions), atoms.cell.array)
            expansion.values()
            expansion.gradients(strain=strain)

        columns.append(
            times(
                {
                    "forceserver": on_threads(1, ours),
                    "forceserver, 2 threads": on_threads(2, ours),
                    "forceserver, with strain": on_threads(1, lambda ours=ours: ours(strain=True)),
                    "featomic": featomic("SphericalExpansion", 3.0, 1, atoms, TI, O, True),
                },
                rounds=3 if quick or n_atoms > 10_000 else 15,
            )
        )
    rows = [[name, *(cell(column[name]) for column in columns)] for name in columns[0]]
    if columns[0]["featomic"] is not None:
        rows.append(["featomic / forceserver", *(c["featomic"].median / c["forceserver"].median for c in columns)])
    return Table(
        "l = 1, eight radial channels: values and explicit sparse gradients, ms",
        ["", *(f"{n} atoms" for n in sizes)],
        rows,
    )


def soap(quick: bool) -> Table:
    atoms = silicon()
    basis = PowerSpectrumBasis(ExpansionBasis({SI: radial_table(5.0, 6)}))
    neighbours = NeighbourList(atoms.numbers, 5.0, skin=SKIN)
    neighbours.update(atoms.positions, atoms.cell.array)
    _ext.cpu.set_threads(2)  # work space is made for as many
    spectrum = PowerSpectrum(basis, neighbours)
    positions = moving(atoms)
    gradient = np.ones((len(atoms), len(basis)))

    def values():
        neighbours.update(next(positions), atoms.cell.array)
        spectrum.values()

    def with_derivative():
        values()
        spectrum.vjp(gradient)

    rounds = 3 if quick else 9
    columns = [
        times(
            {
                "forceserver": on_threads(1, ours),
                "forceserver, 2 threads": on_threads(2, ours),
                "featomic": featomic("SoapPowerSpectrum", 5.0, 6, atoms, SI, SI, derivative),
                "dscribe": dscribe(atoms, derivative),
                "QUIP": quip(atoms, derivative),
            },
            rounds,
        )
        for ours, derivative in ((values, False), (with_derivative, True))
    ]
    inside = int((np.linalg.norm(neighbours.vectors(), axis=1) < 5.0).sum())
    limits = [limit(*work_of_spectrum(inside, len(atoms), derivative)) for derivative in (False, True)]
    rows = [[name, *(cell(column[name]) for column in columns)] for name in columns[0]]
    rows = [row for row in rows if any(row[1:])]
    rows += [
        ["limit of one core: arithmetic", *(1e3 * arithmetic for arithmetic, _ in limits)],
        ["limit of one core: memory", *(1e3 * bandwidth for _, bandwidth in limits)],
    ]
    missing = [name for name in columns[0] if columns[0][name] is None]
    return Table(
        "SOAP power spectrum, silicon, 512 atoms (28 neighbours), n_max 8, l_max 6, r_c 5 A: ms",
        ["", "values", "with derivative"],
        rows,
        "Derivative: forces and virial from given dE/dp (forceserver); explicit gradients of all features (the others, "
        "which have no other; dscribe has them without periodic images only). "
        + (f"Left out, not installed: {', '.join(missing)}." if missing else ""),
    )


def lists(quick: bool) -> Table:
    columns = {}
    for n_atoms, cells in list(SIZES.items())[: 1 if quick else None]:
        atoms = barium_titanate(cells)
        box, chosen = atoms.cell.array, atoms[np.isin(atoms.numbers, (TI, O))]
        skinned = titanium_oxygen(atoms)
        fresh = NeighbourList(
            atoms.numbers, 3.0 + SKIN, centres=Selection(species=(TI,)), neighbours=Selection(species=(O,))
        )
        full = NeighbourList(atoms.numbers, 3.0 + SKIN)
        peer = {
            (every, skin): vesin.NeighborList(
                cutoff=3.0 if skin else 3.0 + SKIN, full_list=every, skin=skin, n_threads=1
            )
            for every, skin in ((True, 0.0), (False, 0.0), (False, SKIN))
        }

        def ours(neighbours, atoms=atoms, box=box):
            positions = moving(atoms)
            return on_threads(1, lambda: neighbours.update(next(positions), box))

        def peers(every, skin, atoms, peer=peer, box=box):
            positions = moving(atoms)
            return lambda: peer[every, skin].compute(next(positions), box, True, "PS", copy=False)

        columns[n_atoms] = times(
            {
                "Ti-O, built": ours(fresh),
                "vesin, half, of Ti and O, built": peers(False, 0.0, chosen),
                "all pairs, built": ours(full),
                "vesin, full, built": peers(True, 0.0, atoms),
                "Ti-O, reused": ours(skinned),
                "vesin, half, of Ti and O, reused (skin)": peers(False, SKIN, chosen),
            },
            rounds=3 if quick or n_atoms > 100_000 else 9,
        )
    rows = [[name, *(cell(columns[n][name]) for n in columns)] for name in next(iter(columns.values()))]
    return Table(
        f"Neighbour lists of BaTiO3, cutoff 3.0 A + {SKIN} A skin: ms",
        ["", *(f"{n} atoms" for n in columns)],
        rows,
        "vesin's half list has each pair of two selected atoms once, also O-O and Ti-Ti; ours has Ti-O only.",
    )


def harmonics(quick: bool) -> Table:
    _ext.cpu.set_threads(1)  # sphericart's, too
    degrees, sizes = (6, 12), (256, 16_384)
    rows = []
    with programs(Path(__file__).parent / "harmonics.c", flags=kernel_flags()) as (ours,):
        for l_max in degrees:
            for pairs in sizes:
                fused, peer = harmonics_rounds(str(ours), l_max, pairs, rounds=3 if quick else 9)
                rows.append([f"{l_max}, {pairs}", *(c for pair in zip(fused, peer, strict=True) for c in pair)])
    columns = ["l_max, pairs", "forceserver", "sphericart", "forceserver, gradients", "sphericart, gradients"]
    return Table(
        "Real spherical harmonics, ns per pair",
        columns,
        rows,
        "Ours as the kernel does it, from displacements to harmonics, 32 pairs at a time that stay in the first cache; "
        "sphericart's `compute` and `compute_with_gradients` write all of them. Smallest of all rounds, one thread."
        + ("" if importlib.util.find_spec("sphericart") else " Left out, not installed: sphericart."),
    )


def harmonics_rounds(program: str, l_max: int, pairs: int, rounds: int) -> tuple[list[float], list[float | None]]:
    """Nanoseconds per pair, values and with gradients, of our kernel and of sphericart; rounds take turns."""
    ours, theirs = [], []
    calls: list[Callable] = []
    if importlib.util.find_spec("sphericart") is not None:
        import sphericart

        peer = sphericart.SphericalHarmonics(l_max)
        xyz = np.random.default_rng(0).uniform(0.1, 1.1, (pairs, 3))
        calls = [lambda: peer.compute(xyz), lambda: peer.compute_with_gradients(xyz)]
    for _ in range(rounds):
        done = subprocess.run([program, str(l_max), str(pairs)], check=True, capture_output=True, text=True)
        ours.append([float(word) for word in done.stdout.split()])
        timings = interleave(dict(enumerate(calls)), rounds=1)
        theirs.append([1e9 * timing.best / pairs for timing in timings.values()])
    return np.min(ours, axis=0).tolist(), np.min(theirs, axis=0).tolist() if calls else [None, None]


def kernel_flags() -> list[str]:
    """What the kernels in use were compiled with (cython_ext/meson.build)."""
    flags = ["-O3", "-fno-math-errno", "-fno-trapping-math", "-ffp-contract=fast", "-Wno-psabi"]
    if _ext.isa != "baseline":
        flags.append(f"-march=x86-64-{_ext.isa[-2:]}")
    return [*flags, "-mprefer-vector-width=512"] if _ext.isa == "x86_64_v4" else flags


def tables(quick: bool) -> Iterator[Table]:
    """The tables of this suite."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    threads = _ext.cpu.max_threads()
    try:
        for table in (vector_mean, sparse_gradients, soap, lists, harmonics):
            yield table(quick)
    finally:
        _ext.cpu.set_threads(threads)

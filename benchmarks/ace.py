"""The cluster expansion: evaluation and its stages.

Energy, forces and virial of 512 silicon atoms that move 0.001 A between calls, cutoff 5.5 A, 1706 functions (weights
are random: they do not change the time) beside kernel models with 1000 sparse points (n 8, l 6, cutoff 5 A), SNAP, POD
and UF3 of LAMMPS (the latter two of other elements, at the same positions), and ace-jax (order 3, degree 12, cutoff
5.5 A; in a process of its own). Peers have one thread. Stages are those of one call; limits are the multiplications and
additions of each stage against the rate of a matrix product on the same core in the same run.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from forceserver import _ext
from forceserver.fit.defaults import polynomial_basis
from forceserver.frame import Frame
from forceserver.models.ace import AceHypers, AceModel
from forceserver.models.kernel import GapModel, SoapHypers, SoapTerm
from forceserver.potentials.ace import AcePotential
from forceserver.potentials.gap import GapPotential
from forceserver.representation.couplings import real_clebsch_gordan
from forceserver.representation.products import ProductGraph, Truncation, truncate

from .clients.ace_peers import peers
from .gap import moving, silicon
from .harness import Table, interleave

CUTOFF = 5.5
FUNCTIONS = 1706


def expansion(order: int) -> AceModel:
    """Of silicon, with random weights."""
    frame = Frame.from_ase(silicon(2))
    functions = truncate(Truncation(functions=FUNCTIONS, order=order))
    hypers = AceHypers(basis=polynomial_basis(CUTOFF, [frame], 0, (14,)))
    weights = 1e-3 * np.random.default_rng(0).normal(size=FUNCTIONS)
    return AceModel((14,), {14: 0.0}, hypers, functions, {14: weights})


def kernel_model() -> GapModel:
    """With 1000 random sparse points."""
    basis = {
        "kind": "gto",
        "n_max": 8,
        "l_max": 6,
        "cutoff": {"cutoff_angstrom": 5.0, "width_angstrom": 0.5},
        "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
    }
    hypers = SoapHypers.model_validate({"basis": basis, "zeta": 4})
    spectrum = hypers.power_spectrum((14,))
    rng = np.random.default_rng(0)
    points = rng.normal(size=(1000, len(spectrum)))
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    term = SoapTerm(hypers, spectrum.features, {14: points}, {14: rng.normal(size=1000)})
    return GapModel((14,), {14: 0.0}, (term,))


def evaluation(folder: Path, quick: bool) -> Table:
    """Microseconds per atom."""
    models = {"order 3": expansion(3), "order 4": expansion(4)}

    def at_work(make, threads: int):
        _ext.cpu.set_threads(threads)  # work space is made for as many
        potential = make()

        def compute(atoms):
            _ext.cpu.set_threads(threads)
            potential.compute_one(Frame.from_ase(atoms))

        return moving(compute, silicon(4))

    contenders = {
        f"{FUNCTIONS} functions, {name}, {threads} thread{'s' * (threads > 1)}": at_work(
            lambda model=model: AcePotential(model), threads
        )
        for name, model in models.items()
        for threads in (1, 2)
    }
    contenders["kernel model, 1 thread"] = at_work(lambda: GapPotential(kernel_model()), 1)
    table = Table("Energy, forces and virial of 512 atoms, microseconds per atom", ("", "median", "best"))
    with peers(folder, silicon(4)) as (others, missing):
        timings = interleave(contenders | others, rounds=3 if quick else 9)
    table.note = f"Left out: {'; '.join(missing)}." if missing else ""
    for name, timing in timings.items():
        table.rows.append((name, 1e6 * timing.median / 512, 1e6 * timing.best / 512))
    return table


def operations(model: AceModel, pairs: float) -> dict[str, float]:
    """Multiplications and additions of each stage for one atom with so many neighbours."""
    graph = ProductGraph(model.functions)
    terms = sum(np.count_nonzero(real_clebsch_gordan(*row[:3])) for row in graph.couplings.tolist())
    components = int((2 * graph.functions[:, -1] + 1).sum())
    coefficients = sum((2 * l + 1) * n for l, n in enumerate(graph.counts))
    return {
        "coefficients": 2 * pairs * coefficients,
        "products": 3 * 3 * terms + 2 * 2 * components,
        "coefficients, backwards": 2 * 2 * pairs * coefficients,
    }


def stages(order: int, quick: bool) -> Table:
    """The parts of one call."""
    model, frame = expansion(order), Frame.from_ase(silicon(4))
    potential = AcePotential(model)
    potential.compute_one(frame)
    (working,) = potential._slots[0].terms
    kernel, describer, gradient = potential._terms[0].kernels[14], working.describer, working.gradient
    features, neighbours = describer.values(), describer.expansion.neighbours
    square = np.random.default_rng(0).normal(size=(400, 400))
    with threadpool_limits(1):
        timings = interleave(
            {
                "matrix product": lambda: square @ square,
                "neighbours (kept)": lambda: neighbours.update(frame.positions, frame.cell),
                "coefficients": describer.values,
                "products": lambda: kernel.evaluate(features, working.energies, gradient, working.members),
                "coefficients, backwards": lambda: describer.vjp(gradient),
                "all": lambda: potential.compute_one(frame),
            },
            rounds=3 if quick else 9,
        )
    rate = 2 * 400**3 / timings.pop("matrix product").best
    r = frame.positions[neighbours.site_atom[neighbours.pair_site]]
    centres = frame.positions[neighbours.centres[neighbours.pair_centre]]
    vector = r - centres
    vector -= np.round(vector @ np.linalg.inv(frame.cell)) @ frame.cell
    pairs = (np.linalg.norm(vector, axis=1) < CUTOFF).sum() / 512
    counted = operations(model, pairs)
    table = Table(
        f"Stages, order {order}, one thread; {pairs:.0f} neighbours, {rate / 1e9:.0f} Gflop/s",
        ("", "microseconds per atom", "share", "operations", "of the limit"),
    )
    for name, timing in timings.items():
        time, count = timing.best / 512, counted.get(name)
        limit = f"{count / rate / time:.0%}" if count else ""
        table.rows.append((name, 1e6 * time, f"{timing.best / timings['all'].best:.0%}", count, limit))
    return table


def tables(quick: bool) -> Iterator[Table]:
    """Evaluation, stages."""
    threads = _ext.cpu.max_threads()
    with tempfile.TemporaryDirectory(prefix="fsace-") as name:
        try:
            yield evaluation(Path(name), quick)
            _ext.cpu.set_threads(1)
            for order in (3, 4):
                yield stages(order, quick)
        finally:
            _ext.cpu.set_threads(threads)

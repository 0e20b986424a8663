"""Cluster expansions at work: derivatives, batches, threads, files."""

import json
import re
from dataclasses import replace

import numpy as np
import pytest
from ace_models import LENGTHS, some_ace
from ase import Atoms
from typer.testing import CliRunner

from forceserver import _ext
from forceserver.api import load_potential
from forceserver.cli.app import app
from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.models.ace import AceHypers, AceModel
from forceserver.potentials.ace import AcePotential
from forceserver.potentials.conformance import check_potential

BATIO3 = Atoms(
    "BaTiO3",
    scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.52], [0.5, 0.5, 0.01], [0.5, 0, 0.49], [0, 0.5, 0.5]],
    cell=[4.0, 4.01, 4.1],
    pbc=True,
)


def rattled(repeat=(2, 2, 1), seed=0):
    atoms = BATIO3.repeat(repeat)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.05 * np.eye(3, k=1)), scale_atoms=True)
    atoms.rattle(0.1, seed=seed)
    return atoms


@pytest.mark.parametrize("radial", [{}, {"by_pair": True}, {"mixed": True}])
def test_conformance(radial):
    check_potential(AcePotential(some_ace(**radial)), Frame.from_ase(BATIO3)).raise_on_failure()


def test_lengths_of_pairs():
    """A table of one length is that length; where they differ, atoms have the functions of their own pairs."""
    frame = Frame.from_ase(rattled())
    model = some_ace(by_pair=True)
    same = json.loads(model.hypers.model_dump_json())
    for section, key, length in (("cutoff", "core_angstrom", 1.5), ("transform", "r0_angstrom", 2.5)):
        same["basis"][section][key] = dict.fromkeys(LENGTHS, length)
    table = replace(model, hypers=AceHypers.model_validate(same))
    for section, key, length in (("cutoff", "core_angstrom", 1.5), ("transform", "r0_angstrom", 2.5)):
        same["basis"][section][key] = length
    number = replace(model, hypers=AceHypers.model_validate(same))
    assert AcePotential(table).compute_one(frame).energy == AcePotential(number).compute_one(frame).energy
    dimer = Frame.from_ase(Atoms("OTi", positions=[[0, 0, 0], [1.8, 0, 0]]))
    for key, length in (("core_angstrom", 0.7 * LENGTHS["O-Ti"]), ("r0_angstrom", LENGTHS["O-Ti"])):
        same["basis"]["cutoff" if key == "core_angstrom" else "transform"][key] = length
    of_the_pair = replace(model, hypers=AceHypers.model_validate(same))
    expected = AcePotential(of_the_pair).compute_one(dimer)
    found = AcePotential(model).compute_one(dimer)
    assert found.energy == pytest.approx(expected.energy, abs=2e-3)  # on another grid, as accurate as splines are
    del same["basis"]["transform"]["r0_angstrom"]
    same["basis"]["transform"]["r0_angstrom"] = {"O-O": 2.5}
    with pytest.raises(InputError, match=r"r0_angstrom: there is none for O-Ti, only for O-O"):
        AcePotential(replace(model, hypers=AceHypers.model_validate(same)))


@pytest.mark.parametrize("by_pair", [False, True])
def test_forces_and_virial_against_central_differences(by_pair):
    """1e-8 of the largest, with Richardson's extrapolation: the splines have jumps in their second derivatives only."""
    potential, atoms = AcePotential(some_ace(by_pair=by_pair)), rattled()
    frame = Frame.from_ase(atoms)
    result = potential.compute_one(frame)
    rng = np.random.default_rng(1)
    direction, strain = rng.normal(size=(len(atoms), 3)), rng.normal(size=(3, 3))

    def energy(step, of_strain):
        moved = frame.positions @ (np.eye(3) + step * of_strain) if of_strain is not None else None
        if moved is None:
            return potential.compute_one(
                Frame(frame.positions + step * direction, frame.cell, frame.species, frame.pbc)
            )
        cell = frame.cell @ (np.eye(3) + step * of_strain)
        return potential.compute_one(Frame(moved, cell, frame.species, frame.pbc))

    for of_strain, expected in (
        (None, -(result.forces * direction).sum()),
        (strain, -(result.virial * strain).sum()),
    ):
        slopes = [(energy(h, of_strain).energy - energy(-h, of_strain).energy) / (2 * h) for h in (1e-4, 2e-4)]
        extrapolated = (4 * slopes[0] - slopes[1]) / 3
        assert extrapolated == pytest.approx(expected, rel=1e-8, abs=1e-8 * np.abs(result.forces).max())


def test_batches_and_threads_do_not_change_a_bit():
    frames = [Frame.from_ase(rattled(seed=seed)) for seed in range(5)]
    threads = _ext.cpu.max_threads()
    results = []
    try:
        for count in (1, 2, 3):
            _ext.cpu.set_threads(count)
            potential = AcePotential(some_ace())
            results.append(potential.compute(frames))
            potential.close()
    finally:
        _ext.cpu.set_threads(threads)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            assert a.energy == b.energy
            np.testing.assert_array_equal(a.forces, b.forces)
            np.testing.assert_array_equal(a.virial, b.virial)
    single = AcePotential(some_ace())
    for frame, together in zip(frames, results[0], strict=True):
        assert single.compute_one(frame).energy == pytest.approx(together.energy, abs=1e-12)


def test_members_and_atoms():
    model = some_ace()
    frame = Frame.from_ase(rattled())
    result = AcePotential(model, uncertainty=True).compute_one(frame)
    one = AceModel(
        model.species,
        model.energies,
        model.hypers,
        model.functions,
        {s: m[:, 3] for s, m in model.members.items()},
        None,
        model.pairs,
    )
    assert result.extras["committee_pot"][3] == pytest.approx(AcePotential(one).compute_one(frame).energy, abs=1e-10)
    potential = AcePotential(model)
    assert potential.atomic_energies(frame).sum() == pytest.approx(result.energy, abs=1e-10)
    alone = Frame(np.zeros((1, 3)), np.eye(3), np.array([22], dtype=np.int32), np.zeros(3, dtype=bool))
    assert potential.compute_one(alone).energy == -23.0
    with pytest.raises(PotentialError, match="is H; the model knows O, Ti, Ba only"):
        potential.compute_one(Frame(np.zeros((1, 3)), np.eye(3), np.array([1], dtype=np.int32), np.zeros(3, bool)))


def test_file_of_contracted_functions(tmp_path):
    from forceserver.npy_files import checksum

    model, frame, path = some_ace(mixed=True), Frame.from_ase(rattled()), tmp_path / "model.npz"
    model.save(path)
    expected = AcePotential(model).compute_one(frame).energy
    assert AcePotential(AceModel.load(path)).compute_one(frame).energy == expected
    other = np.arange(8.0)[None, None] * np.ones((5, 5, 1))
    changed = replace(model, mixing={**model.mixing, 56: other})
    assert AcePotential(changed).compute_one(frame).energy != pytest.approx(expected, abs=1e-3)
    arrays = {name: array for name, array in model._arrays().items() if name != "mixing/56"}
    arrays["header"] = np.frombuffer(json.dumps(model._header()).encode(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez(file, checksum=checksum(arrays), **arrays)
    with pytest.raises(InputError, match="mixing/56: this array is missing"):
        AceModel.load(path)
    five = replace(model, functions=np.where(model.functions == 4, 5, model.functions).astype(np.int32))
    five.save(path)
    with pytest.raises(InputError, match="is not an invariant"):
        AceModel.load(path)


def test_file(tmp_path):
    model, frame = some_ace(), Frame.from_ase(rattled())
    model.save(tmp_path / "model.npz")
    loaded = AceModel.load(tmp_path / "model.npz")
    assert loaded.hypers == model.hypers
    before = AcePotential(model, uncertainty=True).compute_one(frame)
    after = AcePotential(loaded, uncertainty=True).compute_one(frame)
    assert after.energy == before.energy
    np.testing.assert_array_equal(after.extras["committee_pot"], before.extras["committee_pot"])
    assert load_potential(tmp_path / "model.npz").compute_one(frame).energy == before.energy
    mapping = {"kind": "ace", "model": str(tmp_path / "model.npz")}
    assert load_potential(mapping, frame).compute_one(frame).energy == before.energy
    shown = CliRunner().invoke(app, ["info", str(tmp_path / "model.npz")])
    assert shown.exit_code == 0, shown.output
    assert "150 functions" in shown.output
    assert "isolated atom" in shown.output


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda arrays, header: arrays["functions"].__setitem__((3, 2), 9), "functions: row 3 is not an invariant"),
        (
            lambda arrays, header: arrays["functions"].__setitem__((100, 12), 9),
            "row 100 is not an invariant",
        ),
        (lambda arrays, header: arrays.__setitem__("weights/8", np.ones(3)), "weights/8: is float64 (3,)"),
        (lambda arrays, header: arrays.pop("weights/8"), "weights/8: this array is missing"),
        (lambda arrays, header: header.__setitem__("version", 9), "has schema version 9"),
        (lambda arrays, header: header["ace"]["basis"].__setitem__("kind", "x"), "its header"),
    ],
)
def test_damaged_files(tmp_path, change, message):
    from forceserver.npy_files import checksum

    model, path = some_ace(), tmp_path / "model.npz"
    arrays, header = model._arrays(), model._header()
    change(arrays, header)
    arrays["header"] = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with open(path, "wb") as file:
        np.savez(file, checksum=checksum(arrays), **arrays)
    with pytest.raises(InputError, match=re.escape(message)):
        AceModel.load(path)


def test_several_properties_at_once():
    """The sums, and the derivative of any function of them, are those of one sum after the other."""
    from forceserver.representation.invariant_products import InvariantProducts
    from forceserver.representation.products import ProductGraph

    model = some_ace(functions=60)
    graph = ProductGraph(model.functions)
    (expansion,) = model.expansions(graph).values()
    products, rng = InvariantProducts(graph, expansion), np.random.default_rng(0)
    c, weights, slopes = (rng.normal(size=shape) for shape in ((21, products.size), (3, 60), (3, 21)))
    prepared, gradient, expected = products.prepared(weights), np.empty_like(c), np.zeros_like(c)
    for row, phi, slope in zip(prepared, products.properties(c, prepared), slopes, strict=True):
        values, derivatives = np.empty(21), np.empty_like(c)
        products.energies(c, row, values, derivatives)
        np.testing.assert_allclose(phi, values, rtol=1e-10, atol=1e-10 * np.abs(values).max())
        expected += slope[:, None] * derivatives
    products.pull(c, prepared, slopes, gradient)
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12 * np.abs(expected).max())

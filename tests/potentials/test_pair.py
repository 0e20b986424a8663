"""The splined pair potential, against ASE, LAMMPS and sums written down without tables or neighbour lists."""

import itertools

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.lj import LennardJones as AseLennardJones
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.lammps import LammpsPotential, _open_library
from forceserver.potentials.pair import LennardJones, PairPotential, Table, Zbl

ARGON = {"form": "lennard_jones", "species": ["Ar", "Ar"], "epsilon_ev": 0.0104, "sigma_angstrom": 3.4}
ARGON |= {"cutoff_angstrom": 8.0, "smoothing_angstrom": 1.5}


def lammps_has(style):
    try:
        lammps = _open_library([])
    except InputError:
        return False
    try:
        return lammps.has_style("pair", style)
    finally:
        lammps.close()


def lennard_jones(first="Ar", second="Ar", epsilon=0.0104, sigma=3.4, cutoff=8.0, smoothing=1.5):
    return LennardJones(
        species=(first, second),
        epsilon_ev=epsilon,
        sigma_angstrom=sigma,
        cutoff_angstrom=cutoff,
        smoothing_angstrom=smoothing,
    )


def zbl(first, second, cutoff=4.0, smoothing=1.0):
    return Zbl(species=(first, second), cutoff_angstrom=cutoff, smoothing_angstrom=smoothing)


def sheared(atoms, seed=1, rattle=0.2):
    random = np.random.default_rng(seed)
    atoms.set_cell(atoms.cell.array + 0.4 * random.standard_normal((3, 3)), scale_atoms=True)
    atoms.rattle(rattle, seed=seed)
    return atoms


def rock_salt():
    return sheared(bulk("NaCl", crystalstructure="rocksalt", a=5.0, cubic=True))


MIXTURE = [
    lennard_jones("Na", "Cl", 0.02, 2.5, 6.0, 1.0),
    lennard_jones("Cl", "Cl", 0.01, 3.0, 7.0, 2.0),
    zbl("Cl", "Na", 3.0, 1.0),
    zbl("Na", "Na", 3.5, 3.5),
]


def assert_same(result, expected, tolerance):
    np.testing.assert_allclose(result.energy, expected.energy, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=tolerance, atol=tolerance)
    np.testing.assert_allclose(result.virial, expected.virial, rtol=tolerance, atol=tolerance)


def direct_sum(interactions, frame):
    """All pairs with all images, with the forms themselves."""
    reach = max(term.cutoff_angstrom for term in interactions)
    if frame.pbc.any():
        heights = 1 / np.linalg.norm(np.linalg.inv(frame.cell), axis=0)
        spread = np.ptp(frame.positions @ np.linalg.inv(frame.cell), axis=0)
        counts = np.where(frame.pbc, np.ceil(reach / heights + spread), 0).astype(int)
    else:
        counts = np.zeros(3, dtype=int)
    energy, forces, virial = 0.0, np.zeros_like(frame.positions), np.zeros((3, 3))
    for image in itertools.product(*(range(-n, n + 1) for n in counts)):
        shift = np.asarray(image) @ frame.cell
        for i, j in itertools.product(range(len(frame)), repeat=2):
            if i == j and not any(image):
                continue
            vector = frame.positions[j] + shift - frame.positions[i]
            r = np.linalg.norm(vector)
            for term in interactions:
                if r < term.cutoff_angstrom and term.numbers == tuple(sorted(frame.species[[i, j]])):
                    value, slope = term.evaluate(np.array([r]))
                    energy += value[0] / 2
                    forces[i] += slope[0] * vector / r
                    virial -= np.outer(vector, slope[0] * vector / r) / 2
    return energy, forces, virial


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.tuples(st.booleans(), st.booleans(), st.booleans()))
def test_any_cell_and_any_periodicity(seed, pbc):
    random = np.random.default_rng(seed)
    while True:
        cell = 3 * random.standard_normal((3, 3))
        if abs(np.linalg.det(cell)) > 25:
            break
    species = random.choice([11, 17], 4).astype(np.int32)
    for _ in range(1000):
        frame = Frame(random.random((4, 3)) @ cell * 1.5, cell, species, np.array(pbc))
        energy, forces, virial = direct_sum(MIXTURE, frame)
        if np.abs(forces).max() < 1e3:
            break
    result = PairPotential(MIXTURE).compute_one(frame)
    scale = max(1.0, np.abs(forces).max(), abs(energy))
    assert result.energy == pytest.approx(energy, abs=1e-7 * scale)
    np.testing.assert_allclose(result.forces, forces, atol=1e-7 * scale)
    np.testing.assert_allclose(result.virial, virial, atol=1e-6 * scale)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 0, 1), (0, 0, 0)])
def test_conformance(pbc):
    atoms = rock_salt()
    atoms.pbc = pbc
    check_potential(PairPotential(MIXTURE), Frame.from_ase(atoms)).raise_on_failure()


def test_lennard_jones_is_ase_lennard_jones():
    """In a crystal that has no distances where we smooth; ASE shifts its energies to zero at the cutoff."""
    atoms = bulk("Ar", a=5.26, cubic=True) * 2
    atoms.rattle(0.03, seed=1)
    atoms.calc = AseLennardJones(epsilon=0.0104, sigma=3.4, rc=7.0)
    frame = Frame.from_ase(atoms)
    result = PairPotential([lennard_jones(cutoff=7.0, smoothing=0.2)]).compute_one(frame)
    pairs = len(atoms) * (12 + 6 + 24) / 2
    shift = 4 * 0.0104 * ((3.4 / 7) ** 12 - (3.4 / 7) ** 6)
    assert result.energy == pytest.approx(atoms.get_potential_energy() + pairs * shift, abs=1e-8)
    np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-9)
    np.testing.assert_allclose(result.virial, -atoms.get_volume() * atoms.get_stress(voigt=False), atol=1e-7)


@pytest.mark.skipif(not lammps_has("lj/mdf"), reason="LAMMPS with the package EXTRA-PAIR is not there")
@pytest.mark.parametrize("pbc", [(1, 1, 1), (1, 1, 0), (0, 0, 0)])
def test_lennard_jones_is_lammps_lj_mdf(pbc):
    """The same smoothing is there under the name of its authors."""
    atoms = sheared(bulk("Ar", a=5.0, cubic=True) * 2)
    atoms.pbc = pbc
    frame = Frame.from_ase(atoms)
    peer = LammpsPotential(frame, ["pair_style lj/mdf 6.5 8.0", "pair_coeff * * 0.0104 3.4"], ["Ar"])
    assert_same(PairPotential([lennard_jones()]).compute_one(frame), peer.compute_one(frame), 1e-8)


@pytest.mark.skipif(not lammps_has("zbl"), reason="LAMMPS is not there")
def test_zbl_is_lammps_zbl():
    """Far inside both cutoffs: LAMMPS's energies are shifted by a constant for each pair. Its forces are not."""
    atoms = sheared(bulk("NaCl", crystalstructure="rocksalt", a=3.0, cubic=True), rattle=0.3)
    atoms.pbc = False
    frame = Frame.from_ase(atoms)
    coefficients = ["pair_coeff 1 1 11 11", "pair_coeff 1 2 11 17", "pair_coeff 2 2 17 17"]
    peer = LammpsPotential(frame, ["pair_style zbl 20.0 21.0", *coefficients], ["Na", "Cl"])
    pairs = [zbl(*symbols, 21.0, 1.0) for symbols in (("Na", "Na"), ("Na", "Cl"), ("Cl", "Cl"))]
    result, expected = PairPotential(pairs).compute_one(frame), peer.compute_one(frame)
    np.testing.assert_allclose(result.forces, expected.forces, rtol=2e-7, atol=1e-8)
    np.testing.assert_allclose(result.virial, expected.virial, rtol=2e-7)
    assert result.energy == pytest.approx(expected.energy, rel=1e-5)


def test_tables_are_as_accurate_as_asked_for():
    random = np.random.default_rng(0)
    term = lennard_jones()
    r = random.uniform(0.5, 8.5, 1000)
    energy, slope = term.evaluate(r)
    sizes = []
    for tolerance in (1e-4, 1e-7, 1e-10):
        potential = PairPotential([term], tolerance)
        sizes.append(potential._tables.coefficients.shape[1])
        for distance, e, s in zip(r, energy, slope, strict=True):
            frame = Frame(
                np.array([[0.0, 0, 0], [0, distance, 0]]), np.zeros((3, 3)), np.array([18, 18]), np.zeros(3, bool)
            )
            result = potential.compute_one(frame)
            assert result.energy == pytest.approx(e, rel=1.01 * tolerance, abs=1.01 * tolerance)
            assert result.forces[0, 1] == pytest.approx(s, rel=1.01 * tolerance, abs=1.01 * tolerance)
    assert sizes[0] < sizes[1] < sizes[2]


def write_table(path, term, start=2.0, stop=9.0, n=400):
    r = np.linspace(start, stop, n)
    np.savetxt(path, np.stack([r, term.bare(r)[0]], axis=1), header="r [Angstrom]  E [eV]")


def test_table_is_the_function_that_it_was_written_from(tmp_path):
    write_table(tmp_path / "argon.dat", lennard_jones())
    table = {key: ARGON[key] for key in ("species", "cutoff_angstrom", "smoothing_angstrom")}
    config = {"kind": "pair", "interactions": [{**table, "form": "table", "file": "argon.dat"}]}
    frame = Frame.from_ase(sheared(bulk("Ar", a=5.3, cubic=True)))
    section = TypeAdapter(PotentialConfig).validate_python(config, context={"folder": tmp_path})
    tabulated = build_potential(section, frame)
    assert_same(tabulated.compute_one(frame), PairPotential([lennard_jones()]).compute_one(frame), 1e-6)
    check_potential(tabulated, frame).raise_on_failure()
    frame.positions[0] = frame.positions[1] + [0, 1.9, 0]
    with pytest.raises(PotentialError, match=r"atoms 0 and 1 \(counted from 0\) are 1\.900 Angstrom apart"):
        tabulated.compute_one(frame)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("1 2 3\n" * 9, "two columns"),
        ("1 2\n2 1\n", "six lines"),
        ("1 1\n2 1\n2 1\n3 1\n4 1\n9 1\n", "must increase"),
        ("1 1\n2 1\n3 nan\n4 1\n5 1\n9 1\n", "finite"),
        ("1 1\n2 1\n3 1\n4 1\n5 1\n6 1\n", "ends at 6, before cutoff_angstrom = 8"),
        ("one two\n", "not a table"),
        ("", "must have two columns"),
        ("\x1f\x8b\x08", "not a table"),
    ],
)
def test_bad_tables_are_refused(tmp_path, text, message):
    (tmp_path / "bad.dat").write_text(text)
    with pytest.raises(ValidationError, match=message):
        Table(species=("Ar", "Ar"), cutoff_angstrom=8.0, smoothing_angstrom=1.0, file=tmp_path / "bad.dat")


def test_a_table_that_is_too_rough_for_the_tolerance(tmp_path):
    r = np.linspace(1, 9, 50)
    np.savetxt(tmp_path / "rough.dat", np.stack([r, np.random.default_rng(0).standard_normal(50)], axis=1))
    table = Table(species=("Ar", "Ar"), cutoff_angstrom=8.0, smoothing_angstrom=1.0, file=tmp_path / "rough.dat")
    with pytest.raises(ValueError, match="accuracy of"):
        PairPotential([table], 1e-12)


def test_same_bits_for_any_number_of_threads(threads_change_no_bit):
    atoms = sheared(bulk("Ar", a=5.3, cubic=True) * 6)
    frames = [Frame.from_ase(atoms)]
    for seed in range(3):
        atoms.rattle(0.1, seed=seed)
        frames.append(Frame.from_ase(atoms))

    def everything():
        results = PairPotential([lennard_jones()]).compute(frames)
        return [number for result in results for number in (result.energy, result.forces, result.virial)]

    threads_change_no_bit(everything)


def test_moving_atoms_and_cells():
    """Neighbour lists that are kept between calls do not show."""
    random = np.random.default_rng(5)
    atoms = sheared(bulk("Ar", a=5.3, cubic=True))
    potential = PairPotential([lennard_jones()])
    for step in range(60):
        atoms.positions += 0.03 * random.standard_normal(atoms.positions.shape)
        if step % 7 == 0:
            atoms.set_cell(atoms.cell.array * (1 + 0.01 * random.standard_normal((3, 3))), scale_atoms=True)
        if step % 20 == 19:
            atoms = atoms * (2, 1, 1)
        frame = Frame.from_ase(atoms)
        assert_same(potential.compute_one(frame), PairPotential([lennard_jones()]).compute_one(frame), 1e-11)


def test_species_without_interactions():
    section = TypeAdapter(PotentialConfig).validate_python({"kind": "pair", "interactions": [ARGON]})
    with pytest.raises(InputError, match="no pair interaction is given for the species Ne"):
        build_potential(section, Frame.from_ase(bulk("Ne", a=5.0, cubic=True)))


@pytest.mark.parametrize(
    "changes",
    [
        {"species": ["Ar"]},
        {"species": ["Ar", "Qq"]},
        {"smoothing_angstrom": 0.0},
        {"smoothing_angstrom": 9.0},
        {"cutoff_angstrom": -1.0},
        {"form": "morse"},
        {"sigma_angstrom": 0.0},
    ],
)
def test_wrong_sections_are_refused(changes):
    with pytest.raises(ValidationError):
        TypeAdapter(PotentialConfig).validate_python({"kind": "pair", "interactions": [{**ARGON, **changes}]})

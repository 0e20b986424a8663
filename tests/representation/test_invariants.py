"""Power spectrum and bispectrum against featomic, finite differences and symmetry."""

from functools import cache

import numpy as np
import pytest
from ase.build import bulk
from featomic import SoapPowerSpectrum
from structures import STRUCTURES, barium_titanate, rotation, silicon
from test_expansion import CUTOFF, SIGMA, WIDTH, System, table, tables

from forceserver.representation.couplings import real_wigner_3j, wigner_3j
from forceserver.representation.expansion import ExpansionBasis
from forceserver.representation.gto import GtoBasis
from forceserver.representation.invariants import (
    PowerSpectrum,
    PowerSpectrumBasis,
    all_features,
    bispectrum,
)
from forceserver.representation.neighbours import NeighbourList
from forceserver.representation.spline import SplineTable


def spectrum(atoms, features=None, normalise=False, one=None):
    basis = ExpansionBasis(tables(atoms, one or table(4, 3)))
    system = System(atoms, basis)
    return system, PowerSpectrum(PowerSpectrumBasis(basis, features, normalise=normalise), system.list)


@pytest.mark.parametrize("name", STRUCTURES)
def test_agrees_with_featomic(name):
    atoms = STRUCTURES[name]()
    _, mine = spectrum(atoms)
    species = mine.basis.expansion.species
    p = mine.values()
    calculator = SoapPowerSpectrum(
        cutoff={"radius": CUTOFF, "smoothing": {"type": "ShiftedCosine", "width": WIDTH}},
        density={"type": "Gaussian", "width": SIGMA},
        basis={
            "type": "TensorProduct",
            "max_angular": 3,
            "radial": {"type": "Gto", "max_radial": 3},
            "spline_accuracy": 1e-12,
        },
    )
    compared = np.zeros(p.shape, dtype=bool)
    for key, block in calculator.compute(atoms).items():
        pair = species.index(key["neighbor_1_type"]), species.index(key["neighbor_2_type"])
        column = {(int(q["l"]), int(q["n_1"]), int(q["n_2"])): k for k, q in enumerate(block.properties)}
        rows = block.samples["atom"]
        for f, (b1, n1, b2, n2, l) in enumerate(mine.basis.features):
            if (b1, b2) == pair:
                once = np.sqrt(2) if b1 == b2 and n1 != n2 else 1.0  # featomic keeps (n, n') and (n', n)
                theirs = block.values[:, column[l, n1, n2]]
                np.testing.assert_allclose(p[rows, f] / once, theirs, atol=1e-7 * np.abs(p).max())
                compared[rows, f] = True
    assert np.all(p[~compared] == 0)  # species that featomic leaves out because a centre has no such neighbour
    assert compared.any()


QUIP = """
    0.45902902 0.89548249 0.87577543 0.49156855 0.96995270 0.52138288 0.92800618 0.57456910 0.57383115 0.97981760
    0.42252322 0.93401346 0.32706893 0.98167523 0.59755149 0.86498192 0.55740050 0.74879890 0.58748331 0.84723808
    0.54353783 0.72091619 0.45799221 0.93744900 0.36316343 0.49846131 0.95850928 0.45165419"""
"""Products of the descriptors of quippy-ase 0.10.3 in `distorted_alloy`, upper triangle: soap n_max=20 l_max=4
atom_sigma=0.5 cutoff=4.0 cutoff_transition_width=0.5 n_species=2 species_Z={29 79}, with Z=29 and Z=79."""


def distorted_alloy():
    atoms = bulk("Cu", cubic=True).repeat((2, 1, 1))
    atoms.numbers[[1, 4, 6]] = 79
    atoms.positions += 0.3 * np.sin(np.arange(24).reshape(8, 3) * 1.7 + 0.4)
    atoms.cell[0, 1] = 0.3
    return atoms


def test_kernels_are_those_of_quip_once_both_radial_bases_are_complete():
    """With few radial functions they are not: QUIP's reach beyond the cutoff, and are other functions."""
    atoms = distorted_alloy()
    basis = GtoBasis.model_validate(
        {"n_max": 14, "l_max": 4, "cutoff": {"cutoff_angstrom": 4.0, "width_angstrom": 0.5}}
        | {"density": {"kind": "gaussian", "sigma_angstrom": 0.5}}
    )
    expansion = ExpansionBasis(tables(atoms, SplineTable.build(basis, 1e-8)))
    neighbours = NeighbourList(atoms.numbers, expansion.cutoff, pbc=atoms.pbc)
    neighbours.update(atoms.positions, atoms.cell.array)
    x = PowerSpectrum(PowerSpectrumBasis(expansion, normalise=True), neighbours).values()
    expected = np.array(QUIP.split(), dtype=float)
    np.testing.assert_allclose((x @ x.T)[np.triu_indices(len(atoms), 1)], expected, atol=1e-5)


@cache
def selection():
    """Some features of three species, half of them with their sides exchanged."""
    features = all_features(ExpansionBasis(dict.fromkeys((8, 22, 56), table(4, 3))))
    chosen = features[np.random.default_rng(0).permutation(len(features))[:40]]
    chosen[::2] = chosen[::2][:, [2, 3, 0, 1, 4]]
    return chosen


def test_selected_features_are_columns_of_all():
    atoms = barium_titanate(1, rattle=0.2)
    whole = spectrum(atoms)[1].values()
    everything = [tuple(row) for row in spectrum(atoms)[1].basis.features.tolist()]
    columns = [
        everything.index(row if row in everything else (*row[2:4], *row[:2], row[4]))
        for row in map(tuple, selection().tolist())
    ]
    np.testing.assert_allclose(spectrum(atoms, selection())[1].values(), whole[:, columns], atol=1e-14)


def test_scalar_products_are_those_of_the_full_set():
    atoms = barium_titanate(1, rattle=0.2)
    system, mine = spectrum(atoms)
    p = mine.values()
    total = 0
    for l, c in mine.basis.expansion.split(system.expansion.values()).items():
        q = np.einsum("iamn,ibmk->ianbk", c, c) / np.sqrt(2 * l + 1)
        total = total + np.einsum("ianbk,janbk->ij", q, q)
    np.testing.assert_allclose(p @ p.T, total, atol=1e-12)


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("chosen", [False, True])
def test_vjp_is_the_derivative(chosen, normalise):
    atoms = barium_titanate(1, rattle=0.2)
    system, mine = spectrum(atoms, selection() if chosen else None, normalise)
    g = np.random.default_rng(0).normal(size=mine.values().shape)
    forces, virial = (part.copy() for part in mine.vjp(g))
    by_position, by_strain = system.derivatives(lambda _: (mine.values() * g).sum())
    np.testing.assert_allclose(forces, -by_position[:, :, 0], atol=1e-7 * np.abs(forces).max())
    np.testing.assert_allclose(virial, -by_strain[:, :, 0], atol=1e-7 * np.abs(virial).max())
    np.testing.assert_allclose(forces.sum(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(virial, virial.T, atol=1e-12)


def test_invariance():
    atoms = barium_titanate(2, rattle=0.2)
    system, mine = spectrum(atoms, normalise=True)
    p = mine.values().copy()
    np.testing.assert_allclose(np.linalg.norm(p, axis=1), 1, atol=1e-14)
    expansion = system.expansion
    b = bispectrum(expansion.basis, expansion.values())
    skewed = np.array([[1, 1, 0], [0, 1, -2], [0, 0, 1]]) @ atoms.cell.array
    for turn, cell in ((rotation(1), atoms.cell.array), (-rotation(2), atoms.cell.array), (np.eye(3), skewed)):
        system.move(atoms.positions @ turn.T, cell @ turn.T)
        np.testing.assert_allclose(mine.values(), p, atol=1e-12)
        for triple, turned in bispectrum(expansion.basis, expansion.values()).items():
            np.testing.assert_allclose(turned, b[triple], atol=1e-12)
    assert all(np.abs(values).max() > 1e-6 for values in b.values())
    order = np.random.default_rng(0).permutation(len(atoms))
    np.testing.assert_allclose(spectrum(atoms[order], normalise=True)[1].values(), p[order], atol=1e-12)


def test_a_centre_alone_has_zeros_and_no_force():
    atoms = STRUCTURES["water"]()
    atoms.positions[0] += 50
    basis = ExpansionBasis(tables(atoms, table(4, 3)), centre_contribution=False)
    system = System(atoms, basis)
    mine = PowerSpectrum(PowerSpectrumBasis(basis, normalise=True), system.list)
    p = mine.values()
    assert np.all(p[0] == 0)
    forces, _ = mine.vjp(np.ones_like(p))
    assert np.all(forces[0] == 0)
    assert np.isfinite(forces).all()


def test_same_bits_for_any_number_of_threads(threads_change_no_bit):
    def everything():
        _, mine = spectrum(silicon().repeat((2, 2, 1)), normalise=True)
        p = mine.values()
        return [p, *mine.vjp(np.sin(p))]

    threads_change_no_bit(everything)


def test_wigner_3j_against_closed_forms_and_orthogonality():
    assert wigner_3j(0, 0, 0, 0, 0) == 1
    assert wigner_3j(2, 2, 2, 0, 0) == pytest.approx(-np.sqrt(2 / 35))
    assert wigner_3j(1, 2, 3, 1, -2) == pytest.approx(np.sqrt(1 / 105))
    for triple in ((1, 1, 2), (2, 3, 3), (1, 3, 4)):
        w = real_wigner_3j(*triple)
        np.testing.assert_allclose(
            np.einsum("abc,abd->cd", w, w), np.eye(2 * triple[2] + 1) / (2 * triple[2] + 1), atol=1e-13
        )


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ([], "features: must be integers of shape"),
        ([[0, 0, 0, 0]], "features: must be integers of shape"),
        ([[0.0, 0, 0, 0, 0]], "features: must be integers"),
        ([[0, 0, 3, 0, 0]], r"features: blocks \(columns 0 and 2\) must be in 0 \.\. 2"),
        ([[0, 0, 0, 0, 4]], r"features: l \(column 4\) must be one of \[0, 1, 2, 3\]"),
        ([[0, 0, 0, 4, 0]], "features: n .* below the number of radial functions"),
        ([[0, 1, 1, 2, 3], [1, 2, 0, 1, 3]], "features: a feature is given twice"),
    ],
)
def test_bad_features_are_named(features, message):
    with pytest.raises(ValueError, match=message):
        PowerSpectrumBasis(ExpansionBasis(dict.fromkeys((8, 22, 56), table(4, 3))), features)


def test_bad_gradient_and_order_of_calls():
    _, mine = spectrum(barium_titanate(1))
    with pytest.raises(ValueError, match="gradient: must be a float64 array of shape"):
        mine.vjp(np.zeros((5, 5)))
    with pytest.raises(RuntimeError, match="call values"):
        mine.vjp(np.zeros((5, len(mine.basis))))

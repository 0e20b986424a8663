"""Exported models against ours: energies to 1e-9 and forces to 1e-8 of their size, without this program around."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from typer.testing import CliRunner

sys.path.append(str(Path(__file__).parents[1] / "potentials"))
from ace_models import some_ace
from gap_models import some_model

from forceserver.cli.app import app
from forceserver.errors import InputError
from forceserver.frame import Frame
from forceserver.models.embedding import FinnisSinclair, Network, Powers
from forceserver.models.kernel import GapModel, SoapTerm
from forceserver.models.pairs import CubicPair, LennardJones, SplinedPair
from forceserver.potentials.conformance import check_potential
from forceserver.potentials.model_files import potential_of

torch = pytest.importorskip("torch")
mta = pytest.importorskip("metatomic.torch")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*deprecated")]

from forceserver.export.density import Harmonics  # noqa: E402
from forceserver.export.metatomic import export_model  # noqa: E402
from forceserver.export.pairs import PairEnergy  # noqa: E402
from forceserver.potentials.metatomic import MetatomicPotential  # noqa: E402

CELL = np.array([[6.0, 0.3, 0.1], [0.2, 6.4, 0.0], [0.0, 0.5, 5.8]])


def crystal(symbols="Ba2Ti2O6", seed=0):
    """Atoms on a distorted grid, in a triclinic cell."""
    rng = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*[[0.0, 0.33, 0.66]] * 3), axis=-1).reshape(-1, 3)
    atoms = Atoms(symbols, pbc=True, cell=CELL)
    chosen = grid[rng.permutation(len(grid))[: len(atoms)]]
    atoms.positions = (chosen + rng.normal(scale=0.02, size=chosen.shape)) @ CELL
    return Frame.from_ase(atoms)


def embedded(embedding):
    model = some_ace(functions=60, members=False)
    rng = np.random.default_rng(1)
    weights = {s: 0.3 * rng.normal(size=(embedding.n_properties, 60)) for s in model.species}
    theta = {s: embedding.start(rng) for s in model.species}
    return type(model)(
        model.species, model.energies, model.hypers, model.functions, weights, embedding=embedding, parameters=theta
    )


def mixed_species():
    """One block for neighbours of all species, each with contracted radial functions of its own."""
    one = some_model(members=False).soap[0]
    rng = np.random.default_rng(2)
    mixing = {s: rng.normal(size=(3, 2, 3)) for s in (8, 22, 56)}
    basis = one.hypers.power_spectrum((8, 22, 56), mixing=mixing, sum_species=True)
    points = {22: rng.normal(size=(9, len(basis)))}  # atoms of the others have no kernel
    weights = {22: rng.normal(size=9)}
    term = SoapTerm(one.hypers, basis.features, points, weights, mixing=mixing, sum_species=True)
    pairs = (
        LennardJones(species=("O", "O"), cutoff_angstrom=4, smoothing_angstrom=1, epsilon_ev=0.01, sigma_angstrom=2.5),
        SplinedPair(
            species=("Ba", "O"), cutoff_angstrom=5, smoothing_angstrom=2, energies_ev=tuple(np.cos(np.arange(20)))
        ),
    )
    return GapModel((8, 22, 56), {8: -1.0, 22: 2.0, 56: 0.5}, (term,), pairs)


def like_quip():
    """Centres count less, and in the density of every species."""
    model = some_model(members=False)
    centre = {"centre_weight": 0.6, "centre_in_all_blocks": True}
    soap = tuple(replace(term, hypers=term.hypers.model_copy(update=centre)) for term in model.soap)
    return replace(model, soap=soap)


MODELS = {
    "like QUIP": like_quip,
    "kernel": lambda: some_model(),
    "cubic kernel": lambda: some_model(zeta=3, members=False),
    "mixed": mixed_species,
    "ace": lambda: some_ace(),
    "ace by pair": lambda: some_ace(by_pair=True),
    "mixed ace": lambda: some_ace(mixed=True),
    "finnis_sinclair": lambda: embedded(FinnisSinclair()),
    "powers": lambda: embedded(Powers(exponents=(0.5, 2.0))),
    "fixed powers": lambda: embedded(Powers(trained=False)),
    "network": lambda: embedded(Network(properties=3, width=4)),
}


@pytest.mark.parametrize("name", MODELS)
def test_energies_and_derivatives_are_ours(name, tmp_path):
    model = MODELS[name]()
    export_model(model, tmp_path / "model.pt")
    ours = potential_of(model, uncertainty=model.has_members)
    theirs = MetatomicPotential(tmp_path / "model.pt", device="cpu", check_consistency=True)
    molecule = Atoms("TiO2Ba", positions=[[0, 0, 0], [1.7, 0, 0], [0, 1.8, 0], [0, 0, 2.9]])
    frames = [crystal(), crystal(seed=1)]
    for batch in (frames, [Frame.from_ase(molecule)], [Frame.from_ase(Atoms("O", positions=[[1, 1, 1]]))]):
        for found, expected in zip(theirs.compute(batch), ours.compute(batch), strict=True):
            size = max(1.0, abs(expected.energy), np.abs(expected.forces).max())
            assert found.energy == pytest.approx(expected.energy, abs=1e-9 * size)
            np.testing.assert_allclose(found.forces, expected.forces, atol=1e-8 * size)
            np.testing.assert_allclose(found.virial, expected.virial, atol=1e-8 * size)
            if model.has_members:
                members = expected.extras["committee_pot"]
                np.testing.assert_allclose(found.extras["committee_pot"], members, atol=1e-9 * size)


@pytest.mark.parametrize(
    "interaction",
    [
        SplinedPair(
            species=("O", "Ba"), cutoff_angstrom=4, smoothing_angstrom=1, energies_ev=range(9), switch="cosine"
        ),
        CubicPair(
            species=("O", "Ba"),
            cutoff_angstrom=4,
            distances_angstrom=(1.5, 2.2, 4),
            energies_ev=(3.0, 1.0, 0.0),
            slope_ev_per_angstrom=-2,
        ),
    ],
)
def test_pairs_as_quip_has_them(interaction):
    r = np.linspace(0.3, 4.3, 200)
    centre, first, second = np.arange(200), np.zeros(200, int), np.ones(200, int)
    found = PairEnergy(interaction, (0, 1))(*map(torch.from_numpy, (r, centre, first, second)), 200)
    np.testing.assert_allclose(2 * found.numpy(), interaction.evaluate(r)[0], atol=1e-12)


def test_it_conforms(tmp_path):
    export_model(some_ace(functions=40), tmp_path / "model.pt")
    check_potential(MetatomicPotential(tmp_path / "model.pt", device="cpu"), crystal())


def test_single_precision(tmp_path):
    model = some_ace()
    export_model(model, tmp_path / "model.pt", dtype="float32")
    found = MetatomicPotential(tmp_path / "model.pt", device="cpu").compute_one(crystal())
    expected = potential_of(model).compute_one(crystal())
    assert found.energy == pytest.approx(expected.energy, rel=1e-6)
    np.testing.assert_allclose(found.forces, expected.forces, atol=1e-4 * np.abs(expected.forces).max())


def test_energies_of_atoms_and_features_of_those_that_are_asked_for(tmp_path):
    """What engines that share out the atoms ask for."""
    from metatensor.torch import Labels
    from vesin.metatomic import NeighborList

    model = some_ace()
    exported = export_model(model, tmp_path / "model.pt")
    frame = crystal()
    numbers = (torch.tensor(frame.positions), torch.tensor(frame.cell), torch.tensor(frame.pbc))
    system = mta.System(torch.tensor(frame.species), *numbers)
    for options in exported.requested_neighbor_lists():
        NeighborList(options, "angstrom").add_neighbor_list(system)
    outputs = {name: mta.ModelOutput(sample_kind="atom") for name in ("energy", "feature", "energy_uncertainty")}
    chosen = Labels(["system", "atom"], torch.tensor([[0, 7], [0, 2]]))
    options = mta.ModelEvaluationOptions(length_unit="angstrom", outputs=outputs, selected_atoms=chosen)
    found = exported([system], options, check_consistency=True)
    ours = potential_of(model)
    energies = found["energy"].block()
    assert energies.samples.values.tolist() == [[0, 7], [0, 2]]
    np.testing.assert_allclose(energies.values[:, 0].numpy(), ours.atomic_energies(frame)[[7, 2]], atol=1e-9)
    assert found["feature"].block().values.shape == (2, len(model.functions))
    assert (found["energy_uncertainty"].block().values > 0).all()


@pytest.mark.long
def test_the_file_needs_nothing_of_this_program(tmp_path):
    """Through metatomic's own calculator, in a process that cannot import us."""
    pytest.importorskip("metatomic_ase")
    model = some_ace()
    export_model(model, tmp_path / "model.pt")
    frame = crystal()
    frame.to_ase().write(tmp_path / "crystal.xyz")
    code = (
        "import sys; sys.modules['forceserver'] = None\n"
        "from metatomic_ase import MetatomicCalculator; import ase.io\n"
        "atoms = ase.io.read('crystal.xyz'); atoms.calc = MetatomicCalculator('model.pt', device='cpu')\n"
        "print(repr(float(atoms.get_potential_energy())), repr(float(abs(atoms.get_forces()).max())))\n"
        "atoms.get_stress()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    expected = potential_of(model).compute_one(frame)
    assert [float(word) for word in done.stdout.split()] == pytest.approx(
        [expected.energy, np.abs(expected.forces).max()], rel=1e-6
    )


def test_harmonics_to_the_largest_degree_are_orthonormal():
    """By a quadrature that is exact for products up to degree 24; sign and order are compared through the models."""
    z, weights = np.polynomial.legendre.leggauss(13)
    phi = np.arange(26) * 2 * np.pi / 26
    s = np.sqrt(1 - z**2)[:, None]
    unit = np.stack([s * np.cos(phi), s * np.sin(phi), np.broadcast_to(z[:, None], (13, 26))], axis=-1).reshape(-1, 3)
    y = Harmonics(12)(torch.tensor(unit)).numpy()
    np.testing.assert_allclose((y.T * np.repeat(weights, 26)) @ y * 2 * np.pi / 26, np.eye(169), atol=1e-11)


def test_the_command(tmp_path):
    some_ace(functions=20).save(tmp_path / "model.npz")
    result = CliRunner().invoke(app, ["export", str(tmp_path / "model.npz"), "--dtype", "float32"])
    assert result.exit_code == 0, result.output
    capabilities = mta.load_atomistic_model(tmp_path / "model.pt").capabilities()
    assert capabilities.dtype == "float32"
    assert list(capabilities.atomic_types) == [8, 22, 56]
    assert capabilities.interaction_range == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("output", "message"), [("model.npz", "the name must end in .pt"), ("none/model.pt", "there is no folder")]
)
def test_wrong_names(output, message, tmp_path):
    result = CliRunner().invoke(app, ["export", str(tmp_path / "m.npz"), "-o", str(tmp_path / output)])
    assert isinstance(result.exception, InputError)
    assert message in str(result.exception)

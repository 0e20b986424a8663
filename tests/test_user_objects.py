"""What users write themselves (potentials, calculators, variables, frames) and get wrong: what is told, and by whom."""

import os
import sys

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT

import forceserver as fs
from forceserver.cli.evaluate import _predict
from forceserver.ipi.direct import DirectDriver
from forceserver.ipi.driver import DriverConfig
from forceserver.ipi.wire.layout import MessageLayout
from forceserver.ipi.wire.reply import Reply
from forceserver.results import check_count

ATOMS = bulk("Al", cubic=True)
ATOMS.rattle(0.05, seed=1)
FORCES, VIRIAL = np.zeros((4, 3)), np.zeros((3, 3))


class Returning(fs.Potential):
    """Returns what it was given."""

    def __init__(self, **changes):
        self.numbers = {"energy": 1.0, "forces": FORCES, "virial": VIRIAL} | changes

    def compute_one(self, frame):
        return fs.Result(**self.numbers)


def with_one(array, place, value):
    array = array.copy()
    array[place] = value
    return array


MISTAKES = [
    ({"energy": None}, "energy = None, should be one number, in eV"),
    ({"energy": "1"}, "energy = '1', should be one number"),
    ({"energy": np.ones(4)}, r"energy of shape \(4,\), should be one number"),
    ({"energy": np.inf}, "energy = inf eV: do two atoms coincide"),
    ({"forces": None}, r"forces = None, should be of shape \(4, 3\): x, y, z for each atom"),
    ({"forces": FORCES.ravel()}, r"forces of shape \(12,\), should be of shape \(4, 3\)"),
    ({"forces": [[0.0, 1.0], [0.0]]}, r"forces = \[\[0.0, 1.0\], \[0.0\]\], should be of shape"),
    ({"forces": FORCES * 1j}, "forces of type complex128, should be real numbers"),
    ({"forces": with_one(FORCES, (2, 1), np.nan)}, r"forces\[2, 1\] = nan .*y of atom 2; forces on 1 of 4 atoms"),
    ({"virial": None}, r"virial = None, should be of shape \(3, 3\): .*zeros if the volume never changes"),
    ({"virial": np.zeros(6)}, r"virial of shape \(6,\), should be of shape \(3, 3\)"),
    ({"virial": with_one(VIRIAL, (0, 2), -np.inf)}, r"virial\[0, 2\] = -inf eV"),
    ({"extras": [1]}, r"extras = \[1\]: should be a dictionary"),
]


def test_a_result_without_a_virial_is_told_what_to_return():
    """It was Python's TypeError about a missing argument."""

    class OfEnergyAndForces(fs.Potential):
        def compute_one(self, frame):
            return fs.Result(1.0, np.zeros((len(frame), 3)))

    atoms = ATOMS.copy()
    atoms.calc = fs.ForceServerCalculator(OfEnergyAndForces())
    with pytest.raises(fs.PotentialError, match=r"virial = None, .*zeros if the volume never changes"):
        atoms.get_forces()


def test_a_potential_that_leaves_has_failed():
    """`evaluate` and `check --potential` ended with exit code 0, and had computed nothing."""

    class Leaving(Returning):
        def compute_one(self, frame):
            sys.exit(0)

    with pytest.raises(fs.PotentialError, match="SystemExit: 0"):
        fs.check_potential(Leaving(), ATOMS).raise_on_failure()
    with pytest.raises(fs.PotentialError, match="structure 0: SystemExit: 0"):
        list(_predict(Leaving(), [(ATOMS, None)], 1))


def test_a_potential_that_wanders_leaves_ipi_where_it_is(tmp_path, monkeypatch):
    """In i-PI's own process, its RESTART would be written wherever a calculator went last."""
    monkeypatch.chdir(tmp_path)

    class Wandering(Returning):
        def compute_one(self, frame):
            os.chdir("/")
            return super().compute_one(frame)

    driver = DirectDriver(Wandering(), fs.Frame.of(ATOMS), DriverConfig())
    driver.evaluate([ATOMS.cell.array.T], [ATOMS.positions])
    assert os.getcwd() == str(tmp_path)


@pytest.mark.parametrize(("changes", "told"), MISTAKES)
def test_a_wrong_result_is_named_wherever_it_enters(changes, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    potential, frame = Returning(**changes), fs.Frame.of(ATOMS)
    report = fs.check_potential(potential, ATOMS)
    with pytest.raises(fs.PotentialError, match=f"(?s)rounding noise was not measured.*the potential returned {told}"):
        report.raise_on_failure()
    with pytest.raises(fs.PotentialError, match=f"the potential returned {told}"):
        fs.ForceServerCalculator(potential).get_potential_energy(ATOMS)
    with pytest.raises(fs.PotentialError, match=f"the potential returned {told}"):
        DirectDriver(potential, frame, DriverConfig()).evaluate([np.eye(3) * 8], [ATOMS.positions])
    if "extras" not in changes:
        with pytest.raises(fs.PotentialError, match=f"the potential returned {told}"):
            Reply(MessageLayout(4, 1, False), 100).encode([potential.compute_one(frame)])


def test_numbers_that_only_need_converting_are_converted(tmp_path, monkeypatch):
    """`check_potential` tells of them; a simulation does not end for them."""
    monkeypatch.chdir(tmp_path)
    potential = Returning(forces=FORCES.tolist(), virial=np.eye(3, dtype=np.float32))
    assert "not a numpy array: np.array(forces, float)" in fs.check_potential(potential, ATOMS).failures[0].failure
    assert fs.ForceServerCalculator(potential).get_forces(ATOMS).shape == (4, 3)
    [(_, _, virial, _)] = DirectDriver(potential, fs.Frame.of(ATOMS), DriverConfig()).evaluate(
        [np.eye(3) * 8], [ATOMS.positions]
    )
    assert virial.dtype == float


class Torn(fs.Potential):
    """Springs that have no forces where the cell is strained."""

    def compute_one(self, frame):
        forces = -frame.positions if abs(np.linalg.det(frame.cell) - self.volume) < 1e-9 else frame.positions * np.nan
        return fs.Result(0.5 * np.sum(frame.positions**2), forces, VIRIAL)


def test_numbers_that_are_not_finite_somewhere_are_named():
    potential = Torn()
    potential.volume = ATOMS.get_volume()
    report = fs.check_potential(potential, ATOMS, strain=0.0, rattle=0.0)
    assert report.noise is not None
    told = {finding.failure for finding in report.failures}
    assert any(
        "the potential returned forces[0, 0] = nan eV/Angstrom (x of atom 0; forces on 4 of 4" in one for one in told
    )


@pytest.mark.parametrize(
    ("results", "told"),
    [(None, "returned a NoneType for 2 structures, not a list of Results"), ([1], "returned 1 results for 2")],
)
def test_a_batch_without_results_is_named(results, told):
    with pytest.raises(fs.PotentialError, match=told):
        check_count(results, 2)


class Calculating(Calculator):
    implemented_properties = ["energy", "forces", "stress"]  # noqa: RUF012 - as in ASE

    def __init__(self, **given):
        super().__init__()
        self.given = given

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results = dict(self.given)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"energy": 1.0}, "Calculating gave no forces; a potential needs both energy and forces"),
        ({"energy": None, "forces": FORCES}, "Calculating returned energy = None, should be one number"),
        ({"energy": 1.0, "forces": np.ma.masked_equal(FORCES, FORCES[0, 0])}, "returned forces with masked values"),
        ({"energy": 1.0, "forces": FORCES[:2]}, r"returned forces of shape \(2, 3\), should be of shape \(4, 3\)"),
        ({"energy": 1.0, "forces": FORCES, "stress": None}, r"returned stress = None, should be of shape \(3, 3\)"),
        ({"energy": 1.0, "forces": FORCES, "stress": np.zeros(5)}, r"stress of shape \(5,\), .*six in Voigt order"),
    ],
)
def test_a_wrong_result_of_a_calculator_is_named(given, told):
    with pytest.raises(fs.PotentialError, match=f"the ASE calculator .*{told}"):
        fs.AsePotential(Calculating(**given)).compute_one(fs.Frame.of(ATOMS))


@pytest.mark.parametrize("stress", [np.arange(6.0), np.diag([1.0, 2.0, 3.0])])
def test_the_stress_of_a_calculator_may_have_either_form(stress):
    result = fs.AsePotential(Calculating(energy=1.0, forces=FORCES, stress=stress)).compute_one(fs.Frame.of(ATOMS))
    expected = np.array([[0, 5, 4], [5, 1, 3], [4, 3, 2]]) if stress.ndim == 1 else stress
    np.testing.assert_allclose(result.virial, -ATOMS.get_volume() * expected)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"positions": ATOMS.positions.tolist()}, r"positions = \[\[.*it should be a float64 array \(N, 3\)"),
        ({"positions": ATOMS.positions[:3]}, r"positions of shape \(3, 3\), float64; .*for each of the species"),
        ({"cell": np.array([4.0, 4.0, 4.0])}, r"cell of shape \(3,\), float64; .*cell vectors as rows"),
        ({"cell": ATOMS.cell}, r"cell = Cell\(.*Frame.of makes a frame from ASE's Atoms"),
        ({"species": np.array(["Al"] * 4)}, "species of shape .* integer array .* of atomic numbers"),
        ({"species": [13] * 4}, r"species = \[13, 13, 13, 13\]; it should be an integer array"),
        ({"pbc": True}, r"pbc = True; it should be a bool array"),
        ({"pbc": np.ones(3, int)}, r"pbc of shape \(3,\), int64; it should be a bool array"),
    ],
)
def test_a_wrong_array_of_a_frame_is_named(changes, told):
    frame = fs.Frame.of(ATOMS)
    with pytest.raises(fs.InputError, match=f"Frame: {told}"):
        fs.Frame(**{"positions": frame.positions, "cell": frame.cell, "species": frame.species} | changes)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda: fs.AsePotential(EMT), "AsePotential: <class .*EMT'> is not an ASE calculator"),
        (lambda: fs.AsePotential(Returning()), "AsePotential: .*Returning.* is not an ASE calculator"),
        (lambda: fs.AsePotential(EMT(), stress="none"), "stress = 'none': .*analytic, numerical, zero"),
        (lambda: fs.AsePotential(EMT(), extras="dipole"), "extras = 'dipole'.*should be a list of names"),
        (lambda: fs.GapPotential("si.npz"), "'si.npz' is not a GapModel; GapPotential.load reads one from a file"),
        (lambda: fs.load_potential(3), "load_potential: 3 is neither the path of a file nor a mapping"),
        (lambda: fs.fit_potential([ATOMS]), r"fit_potential: \[Atoms\(.* is neither the path"),
        (lambda: fs.check_potential(EMT(), ATOMS, skip="rotation"), "skip = 'rotation' should be a list of names, out"),
        (lambda: fs.check_potential(EMT(), ATOMS, skip=["turn"]), r"skip = \['turn'\] should be"),
        (lambda: fs.check_potential(EMT(), ATOMS, step=-1), "step = -1 should be a positive number"),
        (lambda: fs.check_potential(EMT(), ATOMS, tolerance="x"), "tolerance = 'x' should be a positive number"),
    ],
)
def test_a_wrong_argument_is_named(use, told):
    with pytest.raises(fs.InputError, match=told):
        use()


BASIS = {
    "n_max": 1,
    "l_max": 1,
    "cutoff": {"cutoff_angstrom": 4.0, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
}


def variable(**keys):
    return fs.CollectiveVariable(
        ATOMS, **{"name": "s", "centres": "Al", "neighbours": "Al", "basis": BASIS, "weights": [1.0], **keys}
    )


@pytest.fixture(scope="module")
def norm():
    return variable(outputs=["norm"])


@pytest.mark.parametrize(
    ("force", "forces", "told"),
    [
        ([1.0, 2.0], np.zeros((4, 3)), r"generalised_force: must be .* shape \(1,\), got float64 \(2,\)"),
        ([1.0], np.zeros((2, 3)), "atom 2 is active, and forces have 2 rows"),
        ([1.0], np.zeros((4, 3), int), "forces: must be a float64 array"),
        ([1.0], np.zeros((3, 4)).T, "forces: must be C-contiguous"),
        ([1.0], [[0.0] * 3] * 4, "forces: must be .* got list"),
    ],
)
def test_forces_are_not_added_outside_an_array(norm, force, forces, told):
    """The kernel does not look: it once wrote behind the end of an array with too few rows."""
    with pytest.raises(fs.CVError, match=f"add_forces: {told}"):
        norm.compute(ATOMS).add_forces(force, forces)


def test_a_variable_is_not_computed_for_other_species(norm):
    mixed = ATOMS.copy()
    mixed.numbers[2] = 29
    with pytest.raises(fs.CVError, match="s: atom 2 has atomic number 29, in the template 13; give the atoms in the"):
        norm.compute(mixed)
    with pytest.raises(fs.CVError, match="s: 3 atoms, expected 4"):
        norm.compute(ATOMS[:3])


ON = {"s_norm": {"sigma": 0.01, "lower": 0.0, "upper": 0.4}}


def metadynamics(variables, on=ON, **keys):
    keys = {"height_eV": 0.01, "pace_steps": 5, "temperature_K": 300, "time_step_fs": 1} | keys
    return fs.Metadynamics(variables, on, **keys)


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"height_eV": -1}, r"\n  height_eV = -1: Input should be greater than 0"),
        ({"grid": "x"}, r"\n  grid = 'x': Input should be 'fixed', 'grow' or 'none'"),
        ({"pace": 5}, "Metadynamics: pace: unknown argument; known are bias_factor, clock_file,"),
        ({"hills": {}}, "Metadynamics: hills: unknown argument"),
        ({"biasfactor": 5}, "biasfactor: unknown argument; did you mean 'bias_factor'"),
        ({"on": {"s_norm": {"sigmas": 1}}}, r"\n  on.s_norm.sigmas: unknown key; did you mean 'sigma'"),
        ({"on": {"s_norm": {}}}, r"\n  hills need a width: give sigma of s_norm"),
        ({"on": {"s_norm": {"sigma": 0.01}}}, r'\n  the grid needs lower and upper of s_norm \(or grid = "none"\)'),
        ({"on": {"norm": ON["s_norm"]}}, "Metadynamics: on: no collective variable offers norm; there are s_norm"),
        ({"on": {"s_norm": 0.01}}, "Metadynamics: on = .* should map outputs to their keys"),
        ({"on": {}}, r"\n  on = \[\]"),
        ({"walls": {"variable": "s_norm"}}, r"\n  walls: should be a list"),
        (
            {"walls": [{"variable": "x", "side": "upper", "at": 0, "kappa_eV": 1}]},
            r"\n  there is no variable x; the bias",
        ),
        (
            {"variables": [1]},
            "variables: 1 is neither a CollectiveVariable nor another Variable; make one, or derive",
        ),
        ({"folder": __file__}, "folder = '.*' is a file|is a file; name another folder"),
    ],
)
def test_metadynamics_names_its_own_arguments(norm, keys, told, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(fs.InputError, match=told) as caught:
        metadynamics(**{"variables": norm} | keys)
    assert "(whole file)" not in str(caught.value)


def test_two_variables_of_one_name_are_no_bias(norm):
    with pytest.raises(fs.InputError, match=r"need different names \(argument name\), not s, s"):
        metadynamics([norm, norm])


def test_a_bias_that_is_closed_or_not_closed_is_told(norm, tmp_path):
    frame = fs.Frame.of(ATOMS)
    with metadynamics(norm, folder=tmp_path) as bias:
        bias.compute_one(frame)
        with pytest.raises(fs.InputError, match="HILLS, or a bias of this one that was not closed; end or close it"):
            metadynamics(norm, folder=tmp_path)
    bias.close()  # once more does nothing
    with pytest.raises(fs.BiasError, match="has been closed; a new one with the same files goes on"):
        bias.compute_one(frame)


@pytest.mark.parametrize(
    ("use", "told"),
    [
        (lambda: variable(weights=[1, 2]), r"CollectiveVariable: 1 problem\n  weights must hold basis.n_max = 1"),
        (lambda: variable(centres=0), r"2 problems\n  centres = 0: .*string\n  centres = 0: should be a list"),
        (lambda: variable(outputs="norm"), "outputs = 'norm': should be a list"),
        (lambda: variable(kind="stein"), "CollectiveVariable: kind = 'stein': known are vector"),
        (
            lambda: fs.load_potential({"model": "x"}, ATOMS),
            r"load_potential: 1 problem\n  the key kind is missing; known are ace, ase, ",
        ),
        (
            lambda: fs.load_potential({"kind": "gapp"}, ATOMS),
            r"\n  kind = 'gapp': known are ace, .*; did you mean 'gap'",
        ),
        (lambda: fs.load_potential({"kind": "ase", "calculater": "x"}, ATOMS), r"\n  calculater: unknown key"),
        (lambda: fs.serve(EMT(), ATOMS, "a", 1, shared_memory=True), "shared_memory = True .* not with port = 1"),
        (lambda: fs.serve(EMT(), ATOMS, "a", mode="unix"), "serve: mode: unknown argument; known are address, "),
        (lambda: fs.serve(EMT(), ATOMS, 31415), r"\n  address = 31415: "),
        (lambda: fs.fit_potential(output="a.npz", data={"train": [ATOMS]}), r"data.train = .*should be the path of a"),
    ],
)
def test_functions_name_their_own_arguments(use, told):
    with pytest.raises(fs.InputError, match=told) as caught:
        use()
    assert "(whole file)" not in str(caught.value)


class Bond(fs.Variable):
    """The distance of two atoms, with something wrong."""

    def __init__(self, name="bond", **changes):
        super().__init__(name, ["length"])
        self.changes = changes

    def compute(self, frame):
        vector = frame.to_ase().get_distance(0, 1, mic=True, vector=True)
        length = np.linalg.norm(vector)
        unit = vector / length
        parts = {
            "values": [length],
            "active": [0, 1],
            "gradients": [[-unit, unit]],
            "strain": [np.outer(unit, vector)],
        }
        return fs.CVResult(**parts | self.changes)


class Spring(fs.Potential):
    def __init__(self, variable):
        self.variable = variable

    def compute_one(self, frame):
        found = self.variable.compute(frame)
        forces = np.zeros((len(frame), 3))
        found.add_forces([-found.values[0]], forces)
        return fs.Result(float(0.5 * found.values[0] ** 2), forces, -found.values[0] * found.strain[0])


def test_a_variable_of_ones_own_is_biased_like_any_other(norm, tmp_path):
    fs.check_potential(Spring(Bond()), ATOMS, skip=["permutation"]).raise_on_failure()
    on = {"bond_length": {"sigma": 0.1, "lower": 2.0, "upper": 4.0}}
    moved = ATOMS.copy()
    moved.positions[1] += 0.1
    with metadynamics([Bond(), norm], on, pace_steps=1, folder=tmp_path) as bias:
        for atoms in (ATOMS, moved, ATOMS):
            result = bias.compute_one(fs.Frame.of(atoms))
    assert result.energy > 0
    assert result.extras["bond_length"] == pytest.approx(ATOMS.get_distance(0, 1, mic=True))
    assert abs(result.forces[:2]).min(axis=1).all()
    assert not result.forces[2:].any()
    np.testing.assert_allclose(result.forces.sum(axis=0), 0, atol=1e-15)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"values": 1.0}, r"values of shape \(\): should be \(1,\), one for each of the outputs length"),
        ({"values": [np.nan]}, r"values\[0\] = nan: should be finite"),
        ({"values": None}, r"values of shape \(\): should be \(1,\)"),
        ({"active": [0, 4]}, r"active = \[0, 4\]: should be atoms from 0 to 3, each once"),
        ({"active": [1, 1]}, "active = .*each once"),
        (
            {"gradients": [np.zeros((4, 3))]},
            r"gradients of shape \(1, 4, 3\): should be \(1, 2, 3\), for each output and",
        ),
        ({"gradients": "x"}, r"gradients = 'x': should be numbers of shape \(1, 2, 3\)"),
        ({"strain": [np.zeros(6)]}, r"strain of shape \(1, 6\): should be \(1, 3, 3\), .*zeros will do"),
    ],
)
def test_a_wrong_result_of_a_variable_is_named(changes, told, tmp_path):
    on = {"bond_length": {"sigma": 0.1, "lower": 2.0, "upper": 4.0}}
    with metadynamics(Bond(**changes), on, folder=tmp_path) as bias, pytest.raises(fs.CVError, match=told):
        bias.compute_one(fs.Frame.of(ATOMS))


def test_an_index_of_no_atom_is_not_written_to():
    result = fs.CVResult([1.0], [-1], [[[1.0, 0.0, 0.0]]], [np.zeros((3, 3))])
    with pytest.raises(fs.CVError, match="atom -1 is active, and forces have 4 rows"):
        result.add_forces([1.0], np.zeros((4, 3)))

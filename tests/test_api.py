"""The public interface: every name is there, documented and cheap to import; wrong arguments are named."""

import dataclasses
import inspect
import re
import subprocess
import sys
import types

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.mixing import SumCalculator

import forceserver as fs


def test_import_is_light():
    code = "import sys, forceserver; print([m for m in ('numpy', 'ase', 'pydantic', 'scipy') if m in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_configuration_does_not_wait_for_the_parts_of_scipy_that_it_may_not_need():
    code = "import sys, forceserver.configuration; print([m for m in sys.modules if m.startswith('scipy.')])"
    loaded = subprocess.check_output([sys.executable, "-c", code], text=True)
    assert not {"special", "optimize", "linalg", "sparse"} & set(re.findall(r"'scipy\.([a-z]+)'", loaded)), loaded


CLASSES = [getattr(fs, name) for name in fs.__all__ if inspect.isclass(getattr(fs, name))]
METHODS = [
    (thing, name)
    for thing in CLASSES
    for name, value in vars(thing).items()
    if not name.startswith("_") and isinstance(value, types.FunctionType | classmethod | staticmethod | property)
]


def check_docstring(thing, text):
    """A docstring in Google style names every argument and the return value."""
    signature = inspect.signature(thing)
    parameters = [
        parameter.name for parameter in signature.parameters.values() if parameter.name not in ("self", "cls")
    ]
    arguments = text.partition("Args:\n")[2]
    missing = [name for name in parameters if f"    {name}: " not in arguments]
    assert not missing, text
    assert signature.return_annotation is not inspect.Signature.empty
    if signature.return_annotation is not None:
        assert "Returns:\n" in text


@pytest.mark.parametrize("name", fs.__all__)
def test_every_name_is_documented(name):
    thing = getattr(fs, name)
    text = inspect.getdoc(thing)
    assert text
    if inspect.isfunction(thing):
        check_docstring(thing, text)


@pytest.mark.parametrize("thing", CLASSES, ids=lambda thing: thing.__name__)
def test_every_class_is_documented(thing):
    """Data classes document their fields, other classes the arguments of their constructor."""
    text = vars(thing)["__doc__"]
    if dataclasses.is_dataclass(thing):
        attributes = text.partition("Attributes:\n")[2]
        assert not [field.name for field in dataclasses.fields(thing) if f"    {field.name}: " not in attributes]
    elif "__init__" in vars(thing):
        parameters = list(inspect.signature(thing).parameters)
        arguments = text.partition("Args:\n")[2]
        assert not [name for name in parameters if f"    {name}: " not in arguments]


@pytest.mark.parametrize(("thing", "name"), METHODS, ids=lambda part: getattr(part, "__name__", part))
def test_every_method_is_documented(thing, name):
    text = inspect.cleandoc(vars(thing)[name].__doc__ or "")
    assert text
    if not isinstance(vars(thing)[name], property):
        check_docstring(getattr(thing, name), text)


def test_an_unknown_name_is_an_error():
    assert set(fs.__all__) <= set(dir(fs))
    with pytest.raises(AttributeError, match="has no attribute 'potential_of'"):
        _ = fs.potential_of


def aluminium():
    atoms = bulk("Al", cubic=True)
    atoms.rattle(0.05, seed=1)
    return atoms


def test_a_potential_from_each_kind_of_source(tmp_path):
    atoms = aluminium()
    section = {"kind": "ase", "calculator": "ase.calculators.emt.EMT"}
    atoms.write(tmp_path / "al.extxyz")
    (tmp_path / "c.toml").write_text(
        '[structure]\nfile = "al.extxyz"\n[potential]\n'
        + "\n".join(f'{key} = "{value}"' for key, value in section.items())
    )
    atoms.calc = EMT()
    for potential in fs.load_potential(section, atoms), fs.load_potential(tmp_path / "c.toml"), fs.AsePotential(EMT()):
        result = potential.compute_one(fs.Frame.of(atoms))
        assert result.energy == pytest.approx(atoms.get_potential_energy(), abs=1e-12)
        np.testing.assert_allclose(result.forces, atoms.get_forces(), atol=1e-12)


@pytest.mark.parametrize(
    ("source", "structure", "message"),
    [
        ({"kind": "ase", "calculator": "ase.calculators.emt.EMT"}, None, "a mapping needs a template"),
        ({"kind": "gap", "model": "missing.npz"}, aluminium(), "there is no file missing.npz"),
        ({"kind": "ase", "calculater": "x"}, aluminium(), "did you mean 'calculator'"),
        ("missing.npz", None, "missing.npz: there is no such file"),
        ("missing.toml", None, "cannot read the configuration missing.toml"),
        ({"kind": "ase", "calculator": "ase.calculators.emt.EMT"}, bulk("Si"), "cannot compute the template"),
    ],
)
def test_a_potential_that_cannot_be(source, structure, message):
    with pytest.raises(fs.InputError, match=message):
        fs.load_potential(source, structure)


def test_wrong_keys_are_named():
    with pytest.raises(
        fs.InputError, match="connect_deadline: unknown argument; did you mean 'connect_deadline_seconds'"
    ):
        fs.serve(EMT(), aluminium(), connect_deadline=1)
    with pytest.raises(fs.InputError, match="port = 70000"):
        fs.serve(EMT(), aluminium(), "localhost", 70000)
    with pytest.raises(fs.NoServer, match="nobody"):
        fs.serve(EMT(), aluminium(), "nobody", connect_deadline_seconds=0)
    with pytest.raises(fs.InputError, match=r"(?s)data: this key is required.*cutof.*did you mean 'cutoff_angstrom'"):
        fs.fit_potential(output="x.npz", cutof_angstrom=4.0)
    with pytest.raises(fs.InputError, match="basis: this key is required"):
        fs.CollectiveVariable(aluminium(), centres="Al", neighbours="Al", weights=[1.0])


def test_check_potential_takes_a_calculator():
    assert not fs.check_potential(EMT(), aluminium()).failures


BASIS = {
    "n_max": 1,
    "l_max": 1,
    "cutoff": {"cutoff_angstrom": 4.0, "width_angstrom": 0.5},
    "density": {"kind": "gaussian", "sigma_angstrom": 0.5},
}


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (lambda: fs.check_potential(EMT, aluminium()), r"EMT is a class, not a potential: .*EMT\(\)"),
        (lambda: fs.serve(fs.AsePotential, aluminium(), "nobody"), r"AsePotential is a class, .*AsePotential\(\)"),
        (lambda: fs.check_potential([1], aluminium()), r"\[1\] is neither a Potential nor an ASE calculator"),
        (lambda: fs.ForceServerCalculator(EMT), "is not a Potential"),
        (lambda: fs.ForceServerCalculator(EMT()), "is not a Potential"),
        (lambda: fs.check_potential(EMT(), "al.cif"), "'al.cif' is not a structure.*ase.io.read"),
    ],
)
def test_what_is_no_potential_and_no_structure_is_told_at_once(use, message):
    with pytest.raises(fs.InputError, match=message):
        use()


class Tuple(fs.Potential):
    def compute_one(self, frame):
        return 1.0, np.zeros((len(frame), 3))


def test_a_potential_that_returns_no_result_is_named():
    atoms = aluminium()
    with pytest.raises(fs.PotentialError, match=r"Tuple.compute_one returns a tuple, not a Result\("):
        Tuple().compute([fs.Frame.of(atoms)])
    atoms.calc = fs.ForceServerCalculator(Tuple())
    with pytest.raises(fs.PotentialError, match="returns a tuple"):
        atoms.get_potential_energy()


class Spoilt(fs.Potential):
    """Springs to the origin, with something wrong."""

    def __init__(self, extras=(), nan=False):
        self.extras, self.nan = dict(extras), nan

    def compute_one(self, frame):
        forces = -frame.positions
        if self.nan:
            forces[1, 2] = np.nan
        return fs.Result(0.5 * np.sum(frame.positions**2), forces, np.zeros((3, 3)), self.extras)


def test_numbers_that_are_none_do_not_reach_ase():
    atoms = aluminium()
    atoms.calc = fs.ForceServerCalculator(Spoilt(nan=True))
    for use in (atoms.get_potential_energy, atoms.get_forces):
        with pytest.raises(fs.PotentialError, match=r"the potential returned forces\[1, 2\] = nan"):
            use()


@pytest.mark.parametrize("name", ["energy", "free_energy", "forces", "stress"])
def test_extras_that_ase_would_take_for_results_are_refused(name):
    atoms = aluminium()
    atoms.calc = fs.ForceServerCalculator(Spoilt(extras={name: 1.0, "charge": 0.5}))
    with pytest.raises(fs.PotentialError, match=f"extras of Spoilt have names that ASE gives to results: {name};"):
        atoms.get_potential_energy()
    atoms.calc = fs.ForceServerCalculator(Spoilt(extras={"charge": 0.5}))
    assert atoms.get_potential_energy() == pytest.approx(0.5 * np.sum(atoms.positions**2))
    assert atoms.calc.results["charge"] == 0.5


def variable(atoms):
    return fs.CollectiveVariable(
        atoms, name="s", centres=[0], neighbours="Al", basis=BASIS, weights=[1.0], outputs=["norm", "x"]
    )


def biased(atoms, folder, **keys):
    hills = {"height_eV": 0.05, "pace_steps": 3, "temperature_K": 300, "bias_factor": 10, "time_step_fs": 1}
    on = {"s_norm": {"sigma": 0.05, "lower": 0.0, "upper": 3.0}}
    return fs.Metadynamics(variable(atoms), on, folder=folder, **(hills | keys))


def move(atoms, steps, seed):
    random = np.random.default_rng(seed)
    for _ in range(steps):
        atoms.positions += 0.01 * random.standard_normal(atoms.positions.shape)
        atoms.get_forces()
        atoms.get_potential_energy()  # the same configuration: no step


def test_metadynamics_in_ase_counts_steps_and_goes_on(tmp_path):
    atoms = aluminium() * (2, 1, 1)
    for part in range(2):
        with biased(atoms, tmp_path / "run") as bias:
            atoms.calc = SumCalculator([EMT(), fs.ForceServerCalculator(bias)])
            move(atoms, 7, seed=part)
    times = np.loadtxt(tmp_path / "run" / "COLVAR")[:, 0]
    np.testing.assert_allclose(times, 1e-3 * np.arange(14), atol=1e-12)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "run" / "HILLS")[:, 0], [0.003, 0.006, 0.009, 0.012], atol=1e-12)


def test_forces_of_metadynamics_are_those_of_its_energy(tmp_path):
    atoms = aluminium() * (2, 1, 1)
    bias = biased(atoms, tmp_path)
    atoms.calc = fs.ForceServerCalculator(bias)
    move(atoms, 8, seed=1)
    forces, frame, h = atoms.get_forces(), fs.Frame.of(atoms), 1e-5
    for atom, k in ((0, 0), (3, 2)):
        values = []
        for sign in (1, -1):
            moved = frame.positions.copy()
            moved[atom, k] += sign * h
            s = variable(atoms).compute(fs.Frame(moved, frame.cell, frame.species)).values[:1]
            values.append(bias.bias.compute(s)[0])
        assert forces[atom, k] == pytest.approx(-(values[0] - values[1]) / (2 * h), abs=1e-7)
        assert abs(forces[atom, k]) > 1e-5
    bias.close()


@pytest.mark.parametrize(
    ("on", "keys", "message"),
    [
        ({"s_nrom": {"sigma": 0.1}}, {"grid": "none"}, "s_nrom"),
        ({"s_norm": {"sigma": 0.1}}, {}, "needs lower and upper of s_norm"),
        ({"s_norm": {"sigma": 0.1, "lover": 0}}, {}, "lover: unknown key; did you mean 'lower'"),
        ({"s_norm": {"sigma": 0.1}}, {"grid": "none", "wals": []}, "wals: unknown argument; did you mean 'walls'"),
        ({"s_norm": {"sigma": 0.1}}, {"grid": "none", "pace_steps": 0}, "pace_steps = 0"),
    ],
)
def test_wrong_keys_of_metadynamics_are_named(tmp_path, on, keys, message):
    atoms = aluminium()
    hills = {"height_eV": 0.05, "pace_steps": 3, "temperature_K": 300, "time_step_fs": 1}
    with pytest.raises(fs.InputError, match=message):
        fs.Metadynamics(variable(atoms), on, folder=tmp_path / "new", **(hills | keys))

"""Variables as metatomic models, against the variables themselves."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner
from variable_kinds import BASIS, weights_file

from forceserver.cli.app import app
from forceserver.cv import CollectiveVariable, variable_section
from forceserver.errors import InputError

torch = pytest.importorskip("torch")
mta = pytest.importorskip("metatomic.torch")
vesin = pytest.importorskip("vesin.metatomic")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:.*deprecated")]

from forceserver.export.variable import export_variable  # noqa: E402


def computed(path, atoms):
    """Values, gradients and strain derivatives as PLUMED's METATOMIC asks for them: by the output "features"."""
    model = mta.load_atomistic_model(str(path))
    name = mta.pick_output("features", model.capabilities().outputs)
    kind = model.capabilities().outputs[name].sample_kind
    positions = torch.tensor(atoms.positions, requires_grad=True)
    strain = torch.eye(3, dtype=torch.float64, requires_grad=True)
    cell = torch.tensor(atoms.cell.array)
    types = torch.tensor(atoms.numbers, dtype=torch.int32)
    system = mta.System(types, positions @ strain, cell @ strain, torch.tensor(atoms.pbc))
    vesin.compute_requested_neighbors([system], "angstrom", model)
    request = {name: mta.ModelOutput(sample_kind=kind)}
    options = mta.ModelEvaluationOptions(length_unit="angstrom", outputs=request)
    block = model([system], options, check_consistency=True)[name].block()
    assert block.samples.names == ["system"]
    (values,) = block.values
    rows = [torch.autograd.grad(value, (positions, strain), retain_graph=True) for value in values]
    return values.detach().numpy(), *(np.stack([row[k].numpy() for row in rows]) for k in range(2))


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize(("centres", "neighbours"), [("Ti", ("O", "Ti")), (("Ti", "Ba"), ("O", "Ti")), ("Ti", "O")])
def test_values_and_derivatives_are_those_of_the_variable(batio3, tmp_path, centres, neighbours, normalise):
    """Also for centres that are no neighbours: then the density has no contribution of their own."""
    species = (8, 22) if neighbours == ("O", "Ti") else (8,)
    path = weights_file("o.npz" if species == (8,) else "ti_o.npz", species=species, normalise=normalise)
    keys = {"kind": "power_spectrum", "centres": centres, "neighbours": neighbours, "basis": BASIS, "weights": path}
    keys |= {"normalise": normalise, "reduction": "mean" if normalise else "sum"}
    export_variable(variable_section(keys | {"name": "p"}), tmp_path / "cv.pt")
    values, gradients, strain = computed(tmp_path / "cv.pt", batio3)
    expected = CollectiveVariable(batio3, **keys).compute(batio3)
    full = np.zeros_like(gradients)
    full[:, expected.active] = expected.gradients
    scale = abs(full).max()
    np.testing.assert_allclose(values, expected.values, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(gradients, full, atol=1e-9 * scale)
    np.testing.assert_allclose(strain, expected.strain, atol=1e-8 * scale)


def inline(value):
    """A value in TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {inline(each)}" for key, each in value.items()) + " }"
    return json.dumps(value)


def test_the_command(batio3, tmp_path):
    path = weights_file("ti_o.npz", species=(8, 22), normalise=True)
    around = {"centres": "Ti", "neighbours": ["O", "Ti"]}
    switch = {"kind": "cubic", "d0_angstrom": 2.0, "d_max_angstrom": 3.0}
    variables = [
        {"name": "p", "kind": "power_spectrum", **around, "basis": BASIS, "weights": str(path)},
        {"name": "n", "kind": "coordination", **around, "switch": switch},
    ]
    batio3.write(tmp_path / "start.extxyz")
    lines = f'structure.file = "start.extxyz"\ncv = [{", ".join(map(inline, variables))}]\n'
    (tmp_path / "config.toml").write_text(lines)
    arguments = ["export", str(tmp_path / "config.toml"), "-o", str(tmp_path / "cv.pt")]
    result = CliRunner().invoke(app, [*arguments, "--cv", "p"])
    assert result.exit_code == 0, result.output
    assert mta.load_atomistic_model(tmp_path / "cv.pt").capabilities().outputs["feature"].sample_kind == "system"
    for more, message in (
        ([], "choose one of its variables with --cv: p, n"),
        (["--cv", "m"], "choose one of its variables with --cv: p, n"),
        (["--cv", "n"], 'its kind is "coordination", only "power_spectrum" can be exported'),
    ):
        failed = CliRunner().invoke(app, arguments + more)
        assert isinstance(failed.exception, InputError)
        assert re.search(re.escape(message), str(failed.exception))


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"centres": (0, 1)}, "not indices"), ({"per_centre": (1,)}, "groups and per_centre cannot be exported")],
)
def test_what_cannot_be_exported_is_told(changes, message, tmp_path):
    path = weights_file("ti_o.npz", species=(8, 22), normalise=True)
    keys = {"kind": "power_spectrum", "name": "p", "centres": "Ti", "neighbours": ["O", "Ti"], "basis": BASIS}
    with pytest.raises(InputError, match=message):
        export_variable(variable_section(keys | {"weights": path} | changes), tmp_path / "cv.pt")

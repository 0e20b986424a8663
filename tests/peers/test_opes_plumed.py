"""The embedded OPES against PLUMED's actions: their stored output everywhere, PLUMED itself where there is a kernel."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from plumed_metad import Case, run
from plumed_opes import CASES, DATA, STORED, followed, output, section

from forceserver.bias.tables import FieldsReader

source = pytest.mark.parametrize("source", ["stored", pytest.param("kernel", marks=pytest.mark.plumed)])
each = pytest.mark.parametrize("name", list(CASES))


pytestmark = pytest.mark.usefixtures("no_waiting_for_the_disk")


def plumed_output(name: str, source: str) -> dict[str, np.ndarray]:
    if source == "stored":
        return dict(np.load(DATA / f"{name}.npz"))
    with tempfile.TemporaryDirectory() as folder:
        return output(name, Path(folder))


def table(path: Path) -> tuple[list[str], dict[str, str], np.ndarray]:
    reader = FieldsReader(path)
    rows = reader.read()
    return reader.fields, reader.constants, rows


def assert_same_constants(ours: dict[str, str], theirs: dict[str, str]) -> None:
    assert [*ours] == [*theirs]
    for name, found in ours.items():
        try:
            assert float(found) == pytest.approx(float(theirs[name]), rel=1e-9), name
        except ValueError:
            assert found == theirs[name], name


@source
@each
def test_bias_force_and_files_agree_to_1e_9(name, source, tmp_path):
    expected, trajectory = plumed_output(name, source), CASES[name].trajectory()
    bias = section(name, tmp_path).build()
    energies, gradients = followed(bias, trajectory)
    bias.close()
    stride = STORED if source == "stored" else 1
    np.testing.assert_allclose(energies[::stride], expected["bias"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradients[::stride], expected["gradient"], rtol=0, atol=1e-9)
    assert np.ptp(energies) > 0.3  # there was something to agree on
    assert bias.total.growing.density.count < 0.5 * bias.total.growing.counter

    theirs = tmp_path / "theirs"
    theirs.write_text(str(expected["KERNELS"]))
    (fields, constants, rows), (their_fields, their_constants, their_rows) = table(tmp_path / "KERNELS"), table(theirs)
    assert fields == their_fields
    constants.pop("temperature")
    assert_same_constants(constants, their_constants)
    assert len(rows) in (len(their_rows), len(their_rows) - 1)  # ours is written when the next configuration comes
    np.testing.assert_allclose(rows, their_rows[: len(rows)], rtol=1e-9, atol=1e-12)


@pytest.mark.plumed
@each
def test_colvar_and_state_agree(name, tmp_path):
    expected, trajectory = plumed_output(name, "kernel"), CASES[name].trajectory()
    bias = section(name, tmp_path).build()
    followed(bias, [*trajectory, trajectory[-1] + 1e-3])  # the state of the last step
    bias.close()
    theirs = tmp_path / "theirs"
    theirs.write_text(str(expected["STATE"]))
    (fields, constants, rows), (their_fields, their_constants, their_rows) = table(tmp_path / "STATE"), table(theirs)
    assert fields == their_fields
    assert_same_constants(constants, their_constants)
    np.testing.assert_allclose(rows, their_rows, rtol=1e-8, atol=1e-12)

    theirs.write_text(str(expected["COLVAR"]))
    fields, _, rows = table(tmp_path / "COLVAR")
    their_fields, _, their_rows = table(theirs)
    first = fields.index("opes.bias")
    assert [f"o.{field.removeprefix('opes.')}" for field in fields[first:]] == their_fields[1:]
    n = len(their_rows)
    np.testing.assert_allclose(rows[:n, first], their_rows[:, 1], rtol=0, atol=1e-9)
    # PLUMED prints these after the kernel of the row, we before it: with the bias of the row
    np.testing.assert_allclose(rows[1:n, first + 1 :], their_rows[:-1, 2:], rtol=1e-8, atol=1e-9)


@pytest.mark.plumed
@pytest.mark.parametrize("file", ["STATE", "KERNELS"])
@each
def test_plumed_goes_on_from_our_files(name, file, tmp_path):
    case = CASES[name]
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    bias = section(name, ours).build()
    trajectory = case.trajectory()
    followed(bias, trajectory[:1502])  # to the state of step 1500
    energy, gradient = bias.compute(trajectory[0])
    bias.close()
    line = case.lines[0].replace("STATE_WSTRIDE=500", f"RESTART=YES STATE_RFILE={ours}/STATE")
    if file == "KERNELS":
        (theirs / "KERNELS").write_text((ours / "KERNELS").read_text())
        line = case.lines[0].replace("STATE_WSTRIDE=500", "RESTART=YES")
    found = run(Case(case.names, case.periodic, (line,), 1, case.seed), theirs)
    np.testing.assert_allclose(found["bias"][0], energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["gradient"][0], gradient, rtol=0, atol=1e-9)


@pytest.mark.plumed
@each
def test_we_go_on_from_plumeds_kernels(name, tmp_path):
    """To the 16 digits of the file; the times in it tell how far the run had come."""
    expected, trajectory = plumed_output(name, "kernel"), CASES[name].trajectory()
    (tmp_path / "KERNELS").write_text(str(expected["KERNELS"]))
    bias = section(name, tmp_path).build()
    last = bias.step
    assert len(trajectory) - 5 <= last <= len(trajectory) - 1
    bias.advance(trajectory[last] + 1e-6)
    (tmp_path / "quiet").mkdir()
    quiet = section(name, tmp_path / "quiet").build()
    followed(quiet, trajectory[: last + 1])
    quiet.advance(trajectory[last] + 1e-6)
    for s in trajectory[::100]:
        np.testing.assert_allclose(bias.compute(s)[0], quiet.compute(s)[0], rtol=0, atol=1e-9)
        np.testing.assert_allclose(bias.compute(s)[1], quiet.compute(s)[1], rtol=0, atol=1e-8)

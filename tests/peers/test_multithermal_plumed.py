"""Multithermal OPES against PLUMED's OPES_EXPANDED of an ECV_MULTITHERMAL, and in i-PI."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from ase.io import write
from ase.units import Hartree
from bias_runs import BIAS_SOCKET, BIN, FORCES, ended, ipi_input, start
from ipi_runs import write_ipi_xyz
from plumed_metad import Case, run
from plumed_opes import DATA, MULTITHERMAL, STORED, followed, multithermal, multithermal_output

from forceserver.bias.tables import FieldsReader

source = pytest.mark.parametrize("source", ["stored", pytest.param("kernel", marks=pytest.mark.plumed)])


def rows(text: str, folder: Path) -> np.ndarray:
    (folder / "theirs").write_text(text)
    return FieldsReader(folder / "theirs").read()


@source
@pytest.mark.usefixtures("no_waiting_for_the_disk")
def test_bias_force_and_estimates_agree_to_1e_9(source, tmp_path):
    if source == "stored":
        expected, stride = np.load(DATA / "opes_multithermal.npz"), STORED
    else:
        with tempfile.TemporaryDirectory() as folder:
            expected, stride = multithermal_output(Path(folder)), 1
    bias = multithermal(tmp_path).build()
    energies, gradients = followed(bias, MULTITHERMAL.trajectory())
    bias.close()
    np.testing.assert_allclose(energies[::stride], expected["bias"], rtol=0, atol=1e-9)
    np.testing.assert_allclose(gradients[::stride], expected["gradient"], rtol=0, atol=1e-9)
    assert np.ptp(energies) > 0.3
    ours, theirs = FieldsReader(tmp_path / "DELTAFS").read(), rows(str(expected["DELTAFS"]), tmp_path)
    assert len(ours) == len(theirs) - 1  # ours is written when the next configuration comes
    np.testing.assert_allclose(ours, theirs[: len(ours)], rtol=0, atol=1e-9)


@pytest.mark.plumed
@pytest.mark.usefixtures("no_waiting_for_the_disk")
def test_plumed_goes_on_from_our_estimates(tmp_path):
    """But for the temperatures in the names of the columns: the unit of energy of this PLUMED is another one."""
    trajectory = MULTITHERMAL.trajectory()
    for name in ("ours", "theirs"):
        (tmp_path / name).mkdir()
    bias = multithermal(tmp_path / "ours").build()
    followed(bias, trajectory[:1202])
    energy, gradient = bias.compute(trajectory[0])
    bias.close()
    header = str(np.load(DATA / "opes_multithermal.npz")["DELTAFS"]).splitlines()[0]
    lines = (tmp_path / "ours" / "DELTAFS").read_text().splitlines()
    (tmp_path / "theirs" / "DELTAFS").write_text("\n".join([header, *lines[1:]]) + "\n")
    again = (MULTITHERMAL.lines[0], f"{MULTITHERMAL.lines[1]} RESTART=YES")
    found = run(Case(("a",), (), again, 1, MULTITHERMAL.seed), tmp_path / "theirs")
    np.testing.assert_allclose(found["bias"][0], energy, rtol=0, atol=1e-9)
    np.testing.assert_allclose(found["gradient"][0], gradient, rtol=0, atol=1e-9)


BIAS = """
[bias]
engine = "opes"
time_step_fs = 0.5
variables = [{ name = "potential_energy" }]
file_energy_unit = "eV"

[bias.multithermal]
temperature_K = 300
lowest_K = 200
highest_K = 600
temperatures = 5
pace_steps = 20
observations = 2
"""
CONFIG = '[structure]\nfile = "batio3.extxyz"\n' + FORCES + BIAS_SOCKET + BIAS


@pytest.mark.long
def test_energy_is_conserved_in_ipi_between_two_estimates(crystal, tmp_path):
    prefix = f"{tmp_path}/s_"
    write(tmp_path / "batio3.extxyz", crystal)
    write_ipi_xyz(tmp_path / "ipi.xyz", crystal)
    text = ipi_input(prefix, "driver", beads=1, dynamics="nve", steps=79)
    (tmp_path / "input.xml").write_text(text.replace("ensemble_bias ]", "ensemble_bias, potential ]"))
    (tmp_path / "forceserver.toml").write_text(CONFIG.replace("PREFIX", prefix))
    server = start(tmp_path, "log", sys.executable, "-m", "forceserver", "drive", "forceserver.toml")
    ipi = start(tmp_path, "log", str(BIN / "i-pi"), "input.xml")
    with ended(server, ipi):
        assert ipi.wait(300) == 0, (tmp_path / "log").read_text()
        assert server.wait(20) == 0, (tmp_path / "log").read_text()
    _, conserved, bias, potential = Hartree * np.loadtxt(tmp_path / "out.properties").T
    colvar = FieldsReader(tmp_path / "COLVAR").read()
    np.testing.assert_allclose(colvar[:, 1], potential, rtol=1e-6)
    np.testing.assert_allclose(colvar[:, 2], bias, atol=1e-6)
    constant = slice(61, 80)  # after the last estimate, at step 60
    assert np.ptp(bias[constant]) > 0.02
    assert np.ptp(conserved[constant]) < 0.02 * np.ptp(bias[constant])

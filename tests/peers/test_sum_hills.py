"""`forceserver fes` against `plumed sum_hills` on the same HILLS."""

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plumed_metad import DATA

from forceserver.analysis.summing import merge, sum_hills, sum_hills_axes
from forceserver.bias.hills import read_hills
from forceserver.bias.plumed_kernel import find_program, program_environment

KT = 0.025


def run_sum_hills(folder: Path, *options: str) -> str:
    command = [find_program(), "--no-mpi", "sum_hills", *options]
    subprocess.run(command, cwd=folder, env=program_environment(), check=True, capture_output=True)
    return (folder / "fes.dat").read_text()


def expected_files(folder: Path, name: str, source: str) -> tuple[str, str | None]:
    """fes.dat, and the projection on the first variable."""
    if source == "stored":
        stored = np.load(DATA / f"sum_hills_{name}.npz")
        return str(stored["fes"]), str(stored["projection"]) or None
    whole = run_sum_hills(folder, "--hills", "HILLS")
    names = read_hills(folder / "HILLS").variables
    if len(names) == 1:
        return whole, None
    return whole, run_sum_hills(folder, "--hills", "HILLS", "--idw", names[0].name, "--kt", str(KT))


def compare(ours: str, theirs: str) -> None:
    """The same header and layout, numbers to the last digit but one."""
    ours, theirs = ours.splitlines(), theirs.splitlines()
    assert len(ours) == len(theirs)
    head = [n for n, line in enumerate(theirs) if line.startswith("#!")]
    assert [ours[n].split() for n in head] == [theirs[n].split() for n in head]
    assert [not line for line in ours] == [not line for line in theirs]
    numbers = [np.loadtxt(lines) for lines in (ours, theirs)]
    np.testing.assert_allclose(numbers[0], numbers[1], rtol=0, atol=2e-9)


@pytest.mark.parametrize("source", ["stored", pytest.param("kernel", marks=pytest.mark.plumed)])
@pytest.mark.parametrize("name", ["metad_1d", "metad_2d", "metad_untempered"])
def test_the_sum_of_hills_is_that_of_sum_hills(name, source, tmp_path):
    (tmp_path / "HILLS").write_text(str(np.load(DATA / f"{name}.npz")["HILLS"]))
    whole, projection = expected_files(tmp_path, name, source)
    hills = merge([read_hills(tmp_path / "HILLS")])
    surface = sum_hills(hills, sum_hills_axes(hills), KT).surface
    surface.write(tmp_path / "ours.dat")
    compare((tmp_path / "ours.dat").read_text(), whole)
    assert np.ptp(surface.filled) > 0.1
    if projection:
        surface.project([surface.names[0]], KT).write(tmp_path / "ours.dat")
        compare((tmp_path / "ours.dat").read_text(), projection)


@pytest.mark.plumed
def test_in_three_dimensions_on_a_given_grid(tmp_path):
    text = str(np.load(DATA / "metad_3d.npz")["HILLS"])
    (tmp_path / "HILLS").write_text(text)
    whole = run_sum_hills(tmp_path, "--hills", "HILLS", "--min=-3,-3,-3", "--max", "3,3,3", "--bin", "30,25,20")
    hills = merge([read_hills(tmp_path / "HILLS")])
    axes = [
        replace(axis, lower=-3.0, upper=3.0, bins=bins)
        for axis, bins in zip(sum_hills_axes(hills), (30, 25, 20), strict=True)
    ]
    sum_hills(hills, axes, KT).surface.write(tmp_path / "ours.dat")
    # in 3-D sum_hills puts a blank line before each row of its first slabs; only the numbers are compared
    ours = (tmp_path / "ours.dat").read_text()
    compare(*("\n".join(filter(None, text.splitlines())) for text in (ours, whole)))

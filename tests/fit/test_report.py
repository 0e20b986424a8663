"""The figures of a fit: what stands on their axes."""

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.image import imread

from forceserver.analysis.parity import ENERGY, STRESS, TOTAL, ParityTable
from forceserver.fit.labels import Labels
from forceserver.fit.report import log_ticks, plot_learning
from forceserver.frame import Frame, Result


@given(st.floats(1e-6, 1e6), st.floats(1.21, 1e6))
def test_a_logarithmic_axis_has_numbers(low, ratio):
    ticks = log_ticks(low, low * ratio)
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert low <= ticks[0]
    assert ticks[-1] <= low * ratio


def alloys() -> ParityTable:
    """Energies of -1000 eV (Cu) and -30000 eV (Au) an atom and little beyond; predictions are 0.1 eV an atom higher."""
    table = ParityTable()
    rng = np.random.default_rng(0)
    for symbols in ("Cu4", "Au4", "Cu2Au2", "CuAu3", "Cu3Au", "Cu2Au2"):
        atoms = Atoms(symbols, positions=bulk("Cu", cubic=True).positions, cell=[4, 4, 4], pbc=True)
        energy = sum(-1000.0 if s == "Cu" else -30000.0 for s in atoms.symbols) + rng.normal(scale=0.2)
        forces = rng.normal(size=(4, 3))
        table.compare(
            "alloy" if len(set(atoms.symbols)) > 1 else None,
            Labels(energy, forces, -np.eye(3)),
            Result(energy + 0.4, forces + 0.01, -1.1 * np.eye(3)),
            Frame.from_ase(atoms),
        )
    return table


def test_energies_are_drawn_per_atom_beyond_those_of_the_elements():
    table = alloys()
    for name in (TOTAL, "alloy"):
        reference, prediction = table._drawn(name, ENERGY)
        assert abs(reference).max() < 0.2
        np.testing.assert_allclose(prediction - reference, 0.1, atol=1e-8)
    reference, prediction = table._drawn(TOTAL, STRESS)
    assert (prediction - reference).max() == pytest.approx(0.1 / 64 * 160.21766, rel=1e-6)  # GPa


def test_groups_are_told_apart_outside_of_the_panels(tmp_path, monkeypatch):
    """Nothing is hidden by the legend, no two of many groups look alike, long numbers do not run into each other."""
    drawn = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, part, **options: (drawn.append(figure), part.touch()))
    table = ParityTable()
    for number in range(14):
        labels = Labels(1e-4 * number, None, None)
        result = Result(1e-4 * number, np.zeros((1, 3)), np.zeros((3, 3)))
        table.compare(f"a group with the long name {number}", labels, result, Frame.from_ase(Atoms("Cu")))
    table.plot(tmp_path / "parity.png")
    (figure,) = drawn
    figure.draw_without_rendering()
    axes, legend = figure.axes[0], figure.legends[0].get_window_extent()
    assert axes.get_legend() is None
    assert not legend.overlaps(axes.get_tightbbox())
    assert figure.bbox.x0 <= legend.x0
    assert legend.x1 <= figure.bbox.x1
    lines = [line for line in axes.get_lines() if line.get_linestyle() == "None"][1:]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 14
    assert max(len(tick.get_text()) for tick in axes.get_xticklabels()) <= 5


def test_the_title_is_inside_the_figure(tmp_path):
    """A power of ten above an axis, of which a layout does not know at first, lifted it off."""
    table, result = ParityTable(), Result(-1.0 + 5.6e-4, np.zeros((1, 3)), np.zeros((3, 3)))
    table.compare("bulk", Labels(-1.0, None, None), result, Frame.from_ase(Atoms("Cu")))
    table.plot(tmp_path / "one.png")
    white = (imread(tmp_path / "one.png")[..., :3] == 1.0).all(axis=(1, 2))
    assert white[:3].all()


def test_figures(tmp_path):
    """They are drawn, also for a single structure and for errors that hardly differ or vanish."""
    table = alloys()
    table.plot(tmp_path / "parity.png")
    plot_learning(tmp_path / "curve.png", {10: table, 20: table, 21: table})
    exact = ParityTable()
    exact.compare(None, Labels(-1.0), Result(-1.0, np.zeros((1, 3)), np.zeros((3, 3))), Frame.from_ase(Atoms("Cu")))
    exact.plot(tmp_path / "one.png")
    plot_learning(tmp_path / "exact.png", {1: exact, 2: exact})
    for name in ("parity", "curve", "one", "exact"):
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")

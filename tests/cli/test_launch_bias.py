"""`forceserver launch --restart` of a simulation with a bias whose state is still that of step 0."""

import numpy as np
import pytest

from forceserver.configuration import read_configuration

SECTIONS = """[[cv]]
name = "d"
centres = "Al"
neighbours = "Al"
weights = [1.0]
basis = { kind = "gto", n_max = 1, l_max = 1, cutoff = { cutoff_angstrom = 4.0, width_angstrom = 0.5 }, \
density = { kind = "gaussian", sigma_angstrom = 0.4 } }
[bias]
engine = "metadynamics"
time_step_fs = 1
variables = [{ name = "d_x", sigma = 0.1 }]
hills = { height_eV = 0.01, pace_steps = 2, temperature_K = 300, grid = "none" }
[socket]"""


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (0, ""),
        (1, ""),
        (2, "is at step 0, but the bias is at step 1 in {folder}/BIAS.clock: move its files away"),
        (4, "is at step 0, but the bias has 1 hill in {folder}/HILLS and is at step 3 in {folder}/BIAS.clock: move"),
        (6, "is at step 0, but the bias has 2 hills in {folder}/HILLS and is at step 5 in {folder}/BIAS.clock: move"),
    ],
)
def test_a_state_of_step_0_beside_a_bias(aluminium, steps, words):
    """The bias counts what follows as a new run, which matters only if it has passed its first configuration."""
    aluminium.write_config("[socket]", SECTIONS)
    (aluminium.folder / "RESTART").write_text((aluminium.folder / "input.xml").read_text())
    (aluminium.folder / "s_al").touch()  # so that nothing is started
    if steps:
        engine = read_configuration(aluminium.config).bias.build()
        for step in range(steps):
            engine.advance(np.array([0.1 * step]))
        engine.close()
    run = aluminium.run_here("launch", aluminium.config, "--restart")
    assert run.returncode == 2
    if words:
        assert words.format(folder=aluminium.folder) in run.stderr
    else:
        assert "the bias" not in run.stderr

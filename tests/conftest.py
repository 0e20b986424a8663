"""Fixtures that several tests need, and the count of the tests that were skipped for want of a peer.

HYPOTHESIS_PROFILE says how many examples hypothesis tries: "dev" (100), "ci" (a thousand), "nightly" (a hundred
thousand).
"""

import os

import hypothesis
import numpy as np
import pytest
from ase import Atoms

from forceserver import _ext
from forceserver.bias.plumed.kernel import find_kernel
from forceserver.cli.plumed import build_action
from forceserver.errors import InputError
from forceserver.lammps.build import build_plugin

for name, examples in ("dev", 100), ("ci", 1_000), ("nightly", 100_000):
    hypothesis.settings.register_profile(
        name, max_examples=examples, deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
    )
hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))

NO_KERNEL = "no PLUMED kernel"
NO_IPI_SOURCES = "no sources of i-PI"
REMEDIES = {
    NO_KERNEL: "set PLUMED_KERNEL",
    NO_IPI_SOURCES: "set FORCESERVER_IPI_SOURCES to a checkout of i-PI",
    "no PACE evaluator": "set FORCESERVER_PACE_PEER to what python -m benchmarks.clients.pace makes",
    "no PLUMED with MPI": "set PLUMED_KERNEL to one that was built with MPI, with its mpiexec on the PATH",
    "no METATOMIC action": "set FORCESERVER_PLUMED_METATOMIC to the library made as docs/commands/export.md says",
    "no LAMMPS with PLUMED": "set FORCESERVER_LAMMPS_PLUMED to a LAMMPS that has fix plumed",
    "no GROMACS with PLUMED": "set FORCESERVER_GROMACS to a gmx_d that takes mdrun -plumed",
}
"""What a test that is skipped for want of a peer says, and what to do about it."""


LONGEST = (
    "test_pages.py", "test_batio3_study.py", "test_launch.py", "test_launch_guards.py", "test_demo.py", "test_fit.py",
    "test_examples.py", "test_bias_kill.py", "test_lammps_engine.py", "test_fit_page.py", "test_without_socket.py",
)  # fmt: skip
"""Files that take a minute or so, most of it in other processes."""


def pytest_collection_modifyitems(items):
    """The longest first: otherwise one worker of xdist is left with one of them while the others have ended."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_runtest_setup(item):
    if item.get_closest_marker("plumed") and find_kernel() is None:
        pytest.skip(NO_KERNEL)


def pytest_terminal_summary(terminalreporter):
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", ())]
    for missing, remedy in REMEDIES.items():
        count = sum(missing in reason for reason in reasons)
        if count:
            terminalreporter.write_line(f"{count} tests were skipped, {missing}: {remedy} to run them", yellow=True)


@pytest.fixture(scope="session")
def action(tmp_path_factory):
    """The FORCESERVER action, compiled."""
    return build_action(tmp_path_factory.mktemp("action") / "ForceServer.so")


@pytest.fixture(scope="session")
def pair_style(tmp_path_factory):
    """The pair style of LAMMPS, compiled; skips where LAMMPS or the compiler of its MPI is not there."""
    try:
        return build_plugin(tmp_path_factory.mktemp("pair_style") / "forceserverplugin.so")[0]
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture
def threads():
    """Sets the number of threads; afterwards it is what it was."""
    before = _ext.cpu.max_threads()
    yield _ext.cpu.set_threads
    _ext.cpu.set_threads(before)


@pytest.fixture
def threads_change_no_bit(threads):
    """Asserts that the arrays and numbers that a function gives are the same with one, two and three threads."""

    def check(compute):
        threads(1)
        expected = [np.copy(array) for array in compute()]
        for count in (2, 3):
            threads(count)
            for found, one in zip(compute(), expected, strict=True):
                np.testing.assert_array_equal(found, one)

    return check


@pytest.fixture
def batio3():
    """BaTiO3, 2x2x2 cells (40 atoms), triclinic, polarised and rattled."""
    unit = Atoms(
        "BaTiO3",
        scaled_positions=[(0, 0, 0), (0.515, 0.51, 0.53), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)],
        cell=[[4.0, 0, 0], [0.1, 3.95, 0], [-0.15, 0.2, 4.1]],
        pbc=True,
    )
    atoms = unit.repeat(2)
    atoms.rattle(0.05, seed=7)
    return atoms

"""i-PI itself as the server: every ensemble, transport and batch gives the result of i-PI's own driver."""

from functools import cache

import pytest
from ipi_runs import Ipi, Trajectory

ROUND_OFF = 1e-11  # relative, after ten steps; measured 1e-15 to 1e-14


@pytest.fixture(scope="session")
def reference(tmp_path_factory):
    """The trajectory that i-PI gets from its own Python driver with the same calculator, one run per ensemble."""

    @cache
    def run(dynamics: str, beads: int, triclinic: bool) -> Trajectory:
        folder = tmp_path_factory.mktemp("reference")
        return Ipi(folder, dynamics, beads, triclinic=triclinic).run(peer=True)

    return run


def check(folder, reference, dynamics, beads, triclinic, clients=1, **options):
    trajectory = Ipi(folder, dynamics, beads, triclinic=triclinic, **options).run(clients)
    assert trajectory.difference(reference(dynamics, beads, triclinic)) < ROUND_OFF


@pytest.mark.parametrize(
    ("dynamics", "mode", "consolidate"),
    [
        ("nve", "unix", False),
        ("nst", "shm", True),
        *(pytest.param(*case, marks=pytest.mark.long) for case in (("nvt", "inet", True), ("nst", "unix", True))),
    ],
)
def test_classical(tmp_path, reference, dynamics, mode, consolidate):
    check(tmp_path, reference, dynamics, 1, dynamics == "nst", mode=mode, consolidate=consolidate)


@pytest.mark.parametrize(
    ("mode", "batch", "clients"),
    [
        ("inet", 4, 1),
        ("unix", 4, 2),
        *(pytest.param(*case, marks=pytest.mark.long) for case in (("unix", 1, 4), ("shm", 8, 1), ("shm", 1, 2))),
    ],
)
def test_path_integral(tmp_path, reference, mode, batch, clients):
    check(tmp_path, reference, "nvt", 8, False, clients, mode=mode, batch=batch)


@pytest.mark.slow
@pytest.mark.parametrize("consolidate", [True, False])
@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
@pytest.mark.parametrize("dynamics", ["nve", "nvt", "npt", "nst"])
def test_classical_all(tmp_path, reference, dynamics, mode, consolidate):
    check(tmp_path, reference, dynamics, 1, True, mode=mode, consolidate=consolidate)


@pytest.mark.slow
@pytest.mark.parametrize("clients", [1, 2, 4])
@pytest.mark.parametrize("batch", [1, 4, 8])
@pytest.mark.parametrize("mode", ["unix", "inet", "shm"])
def test_path_integral_all(tmp_path, reference, mode, batch, clients):
    check(tmp_path, reference, "npt", 8, True, clients, mode=mode, batch=batch)


def test_non_ascii_parameters_are_survived(tmp_path):
    """i-PI announces the length of the parameters in characters; the bytes are more."""
    run = Ipi(tmp_path, steps=2, parameters="{model: Åström, name: 水}")
    assert len(run.run().properties) == 3
    assert "Åström" in run.log("driver")

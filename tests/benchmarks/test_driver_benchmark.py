"""The benchmark of the driver runs: its server, its echoes and our client understand each other."""

import sys
from pathlib import Path

import pytest

from benchmarks import endurance
from benchmarks.clients.stopwatch import blocks
from benchmarks.clients.zoo import Address, c_echo, forceserver_client, python_echo
from benchmarks.harness.compiled import programs

CLIENTS = Path(endurance.__file__).parent / "clients"


@pytest.fixture(scope="module")
def executables():
    with programs(CLIENTS / "stopwatch.c", CLIENTS / "echo.c") as found:
        yield found


@pytest.mark.parametrize("transport", ["unix", "tcp", "shm"])
@pytest.mark.parametrize("batch", [1, 8])
def test_every_client_answers_every_evaluation(executables, transport, batch):
    stopwatch, echo = executables
    clients = {"ours": forceserver_client, "C": c_echo(echo), "Python": python_echo}
    turns = list(blocks(stopwatch, clients, Address(transport, "", 5000, batch), rounds=2, evaluations=5))
    assert [(turn.round, turn.client) for turn in turns] == [(turn, name) for turn in (0, 1) for name in clients]
    assert all(turn.median is not None and turn.median >= turn.best > 0 for turn in turns)


def test_a_client_that_leaves_is_reported(executables):
    stopwatch, echo = executables
    hang_up = "import socket, sys; socket.socket(socket.AF_UNIX).connect(sys.argv[1])"
    clients = {"gone": lambda at: [sys.executable, "-c", hang_up, at.path_or_port], "C": c_echo(echo)}
    turns = list(blocks(stopwatch, clients, Address("unix", "", 8), rounds=1, evaluations=5))
    assert [turn.median is None for turn in turns] == [True, False]


@pytest.mark.slow
def test_evaluations_leave_memory_and_files_as_they_were(executables):
    stopwatch, _ = executables
    for transport in ("unix", "tcp", "shm"):
        work = Address(transport, "", 8)
        ((_, _, evaluations, _, growth_kib, new_files),) = endurance.measure(
            stopwatch, {"ours": forceserver_client}, work, rounds=100
        )
        assert evaluations == 100_000
        assert growth_kib < 1024
        assert new_files == 0

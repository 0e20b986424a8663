"""The FORCESERVER action in PLUMED with MPI: several ranks, walkers and replicas, errors that end all of them.

Runs with a PLUMED_KERNEL that was built with MPI and the mpiexec of that MPI.
"""

import contextlib
import socket
import struct
import threading
from pathlib import Path

import numpy as np
import pytest
from plumed_runs import Proxy, driver, has_mpi, hills_sum, table, write_xyz
from polarization import POLARIZATION

from forceserver.cv import build_variables, variable_section
from forceserver.cv_server import protocol
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

KT = 2.5


@pytest.fixture(scope="module", autouse=True)
def mpi():
    if not has_mpi():
        pytest.skip("no PLUMED with MPI")


@pytest.fixture
def server(batio3):
    variables = build_variables([variable_section(POLARIZATION)], Frame.from_ase(batio3))
    with CVServer(CVServerConfig(address="127.0.0.1:0"), variables) as server:
        host, port = server.address.split(":")
        yield host, int(port)


def action_line(action, address, keywords=""):
    return f"LOAD FILE={action}\np: FORCESERVER ADDRESS={address} CV=polarization {keywords}\n"


def succeed(run):
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("kind", ["unix", "tcp"])
def test_ranks_give_the_bits_of_one_process_through_one_connection(batio3, action, frames, tmp_path, server, kind):
    """Values, bias forces and virial; also where every rank has some of the atoms, as in an engine."""
    variables = build_variables([variable_section(POLARIZATION)], Frame.from_ase(batio3))
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        proxy = Proxy(server)
        address = server.address if kind == "unix" else f"localhost:{proxy.port}"
        text = (
            f"{action_line(action, address)}r: RESTRAINT ARG=p.x,p.y,p.z AT=0.1,0,0 KAPPA=1000,500,500\n"
            "PRINT ARG=p.x,p.y,p.z,r.bias FILE=COLVAR FMT=%.17g\n"
        )
        dumps = ["--dump-forces", "forces", "--dump-forces-fmt", "%.15g"]
        found = {}
        for ranks, *options in [(0,), (2,), (3, "--debug-dd", "yes"), (4, "--debug-pd", "yes")]:
            before = proxy.connections
            succeed(driver(tmp_path, text, frames, *dumps, *options, ranks=ranks))
            if kind == "tcp":
                assert proxy.connections == before + 1
            files = [tmp_path / "COLVAR", *sorted(tmp_path.glob("forces*"))]
            found[ranks] = [file.read_text() for file in files]
            for file in files:
                file.unlink()
    one = found.pop(0)
    assert len(one[1].splitlines()) == 5 * (40 + 2)
    for ranks, texts in found.items():
        assert texts[0] == one[0], ranks
        assert texts[1:] == ranks * one[1:], ranks


def test_derivatives_agree_with_numerical_ones(server, action, frames, tmp_path):
    address = "{}:{}".format(*server)
    text = action_line(action, address)
    numerical = f"n: FORCESERVER ADDRESS={address} CV=polarization NUMERICAL_DERIVATIVES\n"
    dump = "DUMPDERIVATIVES ARG=p.y,n.y FILE=derivatives FMT=%.10f\n"
    succeed(driver(tmp_path, text + numerical + dump, frames[:1], ranks=2))
    _, _, analytical, numerical = table(tmp_path / "derivatives").values()
    assert abs(analytical).max() > 0.1
    np.testing.assert_allclose(analytical, numerical, atol=1e-5)
    restraint = "RESTRAINT ARG=p.x AT=0.1 KAPPA=100\n"
    succeed(driver(tmp_path, text + restraint, frames[:1], "--debug-forces", "debug", ranks=2))
    for rank in range(2):
        rows = [line.split()[1:] for line in (tmp_path / f"debug.{rank}").read_text().splitlines() if line[:2] != "#!"]
        analytical, numerical = np.array(rows, dtype=float).T
        assert len(analytical) >= 3 * 40 + 9
        assert abs(analytical).max() > 0.01
        np.testing.assert_allclose(analytical, numerical, atol=1e-5)


def other_version():
    """A server of another version."""
    listener = socket.create_server(("127.0.0.1", 0))

    def describe():
        client, _ = listener.accept()
        client.recv(4096)
        text = protocol.pack_description(np.arange(40), np.ones(40), ("x",), False)
        client.sendall(text[:8] + struct.pack("=I", protocol.VERSION + 1) + text[12:])
        with contextlib.suppress(OSError):
            client.recv(1)

    threading.Thread(target=describe, daemon=True).start()
    return listener


@pytest.mark.parametrize(
    ("what", "keywords", "message"),
    [
        ("other name", "", "there is no collective variable 'entropy'; there are polarization"),
        ("other version", "", "speaks version 2 of the protocol, this action version 1"),
        ("gone", "RECONNECT=1", "it was tried again for as long as RECONNECT says"),
        ("stuck", "TIMEOUT=1", "no answer from the server"),
    ],
)
def test_an_error_ends_all_ranks_with_its_text(server, action, frames, tmp_path, what, keywords, message):
    """`subprocess` would raise if a rank hung."""
    listener = other_version() if what == "other version" else socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1] if what in ("other version", "stuck") else Proxy(server, 12345, most=1).port
    text = action_line(action, f"127.0.0.1:{port}", keywords) + "PRINT ARG=p.x FILE=COLVAR\n"
    run = driver(tmp_path, text.replace("polarization", "entropy") if what == "other name" else text, frames, ranks=3)
    assert run.returncode != 0
    assert message in run.stdout + run.stderr


def test_a_new_connection_within_time_is_not_noticed(server, action, frames, tmp_path):
    proxy = Proxy(server, limit=12345)
    for ranks, port in (2, proxy.port), (0, server[1]):
        text = action_line(action, f"127.0.0.1:{port}") + f"PRINT ARG=p.x,p.y FILE=COLVAR.{ranks} FMT=%.17g\n"
        succeed(driver(tmp_path, text, frames, ranks=ranks))
    assert proxy.connections == 2
    assert (tmp_path / "COLVAR.2").read_text() == (tmp_path / "COLVAR.0").read_text()


def trajectories(batio3, folder: Path, frames: int):
    """One for each of two walkers, where `plumed driver --multi 2` finds them."""
    rng = np.random.default_rng(5)
    walkers = []
    for walker in range(2):
        walkers.append([batio3.copy() for _ in range(frames)])
        for atoms in walkers[-1]:
            atoms.positions += rng.normal(0, 0.03, (40, 3))
        write_xyz(folder / f"frames.{walker}.xyz", walkers[-1])
    return walkers


METAD = "m: METAD ARG=p.x,p.y SIGMA=0.01,0.02 HEIGHT=1.2 PACE=2 BIASFACTOR=8 FILE=HILLS FMT=%24.16e {}\n"
PRINT = "PRINT ARG=p.x,p.y,m.bias FILE=COLVAR FMT=%24.16e\n"


@pytest.mark.parametrize("ranks", [2, 4])
def test_walkers_that_share_hills_by_mpi(batio3, action, tmp_path, server, ranks):
    """Against the sum of all hills by hand; with 4 ranks every walker has two."""
    walkers = trajectories(batio3, tmp_path, 20)
    text = action_line(action, "{}:{}".format(*server)) + METAD.format("WALKERS_MPI") + PRINT
    succeed(driver(tmp_path, text, walkers[0], "--multi", "2", "--kt", str(KT), ranks=ranks))
    colvars = [table(tmp_path / f"COLVAR.{walker}") for walker in range(2)]
    variable = build_variables([variable_section(POLARIZATION)], Frame.from_ase(batio3))["polarization"]
    hills: list[tuple[np.ndarray, float]] = []
    for step in range(20):
        new = []
        for colvar, trajectory in zip(colvars, walkers, strict=True):
            values = variable.compute(Frame.from_ase(trajectory[step])).values[:2]
            bias = hills_sum(values, hills, np.array([0.01, 0.02]))
            assert [colvar["p.x"][step], colvar["p.y"][step]] == pytest.approx(values.tolist(), abs=1e-9)
            assert colvar["m.bias"][step] == pytest.approx(bias, abs=1e-6)
            new.append((values, 1.2 * np.exp(-bias / (7 * KT))))
        if step > 0 and step % 2 == 0:
            hills += new
    assert colvars[0]["m.bias"][-1] > 1


def test_walkers_that_share_hills_by_files_and_a_restart(batio3, action, tmp_path, server):
    """Two walkers at once; restarted, both know all hills from the first step on."""
    walkers = trajectories(batio3, tmp_path, 12)
    text = action_line(action, "{}:{}".format(*server))
    text += METAD.format("WALKERS_N=2 WALKERS_ID=@replicas:0,1 WALKERS_DIR=. WALKERS_RSTRIDE=2") + PRINT
    options = ["--multi", "2", "--kt", str(KT)]
    succeed(driver(tmp_path, text, walkers[0], *options, ranks=2))
    hills = []
    for file in sorted(tmp_path.glob("HILLS*")):
        rows = np.loadtxt(file)
        assert len(rows) == 5, file  # a walker writes its own hills only
        hills += [(row[1:3], row[5] * 7 / 8) for row in rows]
    assert len(hills) == 10
    for file in tmp_path.glob("COLVAR*"):
        file.unlink()
    for walker, trajectory in enumerate(walkers):  # no new hills: one walker may be done before the other begins
        write_xyz(tmp_path / f"frames.{walker}.xyz", trajectory[:2])
    succeed(driver(tmp_path, "RESTART\n" + text, walkers[0], *options, ranks=2))
    for walker in range(2):
        colvar = table(tmp_path / f"COLVAR.{walker}")
        for step in range(2):
            at = np.array([colvar["p.x"][step], colvar["p.y"][step]])
            assert colvar["m.bias"][step] == pytest.approx(hills_sum(at, hills, np.array([0.01, 0.02])), rel=1e-8)


def test_replicas_have_their_own_servers(batio3, action, tmp_path, server):
    """Two replicas of two ranks, each with a server and a variable of its own."""
    other = POLARIZATION | {"weights": [0.1, 1.0]}
    variables = build_variables([variable_section(other)], Frame.from_ase(batio3))
    walkers = trajectories(batio3, tmp_path, 3)
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        addresses = "@replicas:{{{}:{}}},{{{}}}".format(*server, server.address)
        text = action_line(action, addresses) + "PRINT ARG=p.x FILE=COLVAR FMT=%.14g\n"
        succeed(driver(tmp_path, text, walkers[0], "--multi", "2", ranks=4))
    for walker, config in enumerate((POLARIZATION, other)):
        variable = build_variables([variable_section(config)], Frame.from_ase(batio3))["polarization"]
        expected = [variable.compute(Frame.from_ase(atoms)).values[0] for atoms in walkers[walker]]
        np.testing.assert_allclose(table(tmp_path / f"COLVAR.{walker}")["p.x"], expected, atol=1e-9)

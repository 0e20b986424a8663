"""The FORCESERVER action in real PLUMED."""

import shutil
import socket
import threading
import time

import numpy as np
import pytest
from plumed_runs import Proxy, driver, table
from polarization import POLARIZATION

from forceserver.cli.plumed import ACTION
from forceserver.cv import build_variables, variable_section
from forceserver.cv_server import protocol
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

SECTION = POLARIZATION | {"outputs": ["x", "y", "z", "norm", "cubic4", "density"], "per_centre": [6]}


def build(atoms, **changes):
    return build_variables([variable_section(SECTION | changes)], Frame.from_ase(atoms))


@pytest.fixture(params=["unix", "127.0.0.1:0", "[::1]:0"])
def server(request, batio3, tmp_path):
    address = str(tmp_path / "cv.sock") if request.param == "unix" else request.param
    if request.param.startswith("[") and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6")
    with CVServer(CVServerConfig(address=address), build(batio3)) as server:
        yield server


def test_values_are_those_of_the_variable_in_every_unit(server, action, batio3, frames, tmp_path):
    components = ["x", "y", "z", "norm", "cubic4", "density", "atom6_x", "atom6_y", "atom6_z"]
    arguments = ",".join(f"p.{name}" for name in components)
    for units in ("", "UNITS LENGTH=A ENERGY=eV\n", "UNITS LENGTH=0.0529177 TIME=fs\n"):
        run = driver(
            tmp_path,
            f"{units}LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=polarization\n"
            f"PRINT ARG={arguments} FILE=COLVAR FMT=%.14g\n",
            frames,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        colvar = table(tmp_path / "COLVAR")
        cv = build(batio3)["polarization"]
        for k, atoms in enumerate(frames):
            expected = dict(zip(cv.outputs, cv.compute(Frame.from_ase(atoms)).values, strict=True))
            for name in components:
                assert colvar[f"p.{name}"][k] == pytest.approx(expected[name], abs=1e-9), name
        (tmp_path / "COLVAR").unlink()


def test_numerical_derivatives_agree(server, action, frames, tmp_path):
    names = ["x", "norm", "density", "atom6_z"]
    lines = [
        f"LOAD FILE={action}",
        f"a: FORCESERVER ADDRESS={server.address} CV=polarization",
        f"n: FORCESERVER ADDRESS={server.address} CV=polarization NUMERICAL_DERIVATIVES",
        *(f"DUMPDERIVATIVES ARG=a.{name},n.{name} FILE={name} FMT=%.10f" for name in names),
    ]
    run = driver(tmp_path, "\n".join(lines) + "\n", frames[:1])
    assert run.returncode == 0, run.stdout + run.stderr
    for name in names:
        _, _, analytical, numerical = table(tmp_path / name).values()
        assert len(analytical) == 3 * 32 + 9
        assert abs(analytical).max() > 0.1
        np.testing.assert_allclose(analytical, numerical, atol=1e-5)


def test_forces_and_virial_pass_debug_forces(server, action, frames, tmp_path):
    run = driver(
        tmp_path,
        f"LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=polarization\n"
        "RESTRAINT ARG=p.x,p.norm AT=0.01,0.02 KAPPA=100,50\n",
        frames[:1],
        "--debug-forces",
        "debug",
    )
    assert run.returncode == 0, run.stdout + run.stderr
    rows = np.array([line.split()[1:] for line in (tmp_path / "debug").read_text().splitlines() if line[:2] != "#!"])
    analytical, numerical = rows.astype(float).T
    assert len(analytical) >= 3 * 40 + 9
    assert abs(analytical).max() > 0.01
    np.testing.assert_allclose(analytical, numerical, atol=1e-5)


def test_without_periodic_boundaries(action, frames, tmp_path):
    cluster = frames[0].copy()
    cluster.pbc = False
    cv = build(cluster)["polarization"]
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), {"polarization": cv}) as server:
        run = driver(
            tmp_path,
            f"LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=polarization NOPBC\n"
            "PRINT ARG=p.x,p.density FILE=COLVAR FMT=%.14g\n",
            [cluster],
        )
    assert run.returncode == 0, run.stdout + run.stderr
    expected = dict(zip(cv.outputs, cv.compute(Frame.from_ase(cluster)).values, strict=True))
    colvar = table(tmp_path / "COLVAR")
    assert colvar["p.x"][0] == pytest.approx(expected["x"], abs=1e-9)
    assert colvar["p.density"][0] == pytest.approx(expected["density"], abs=1e-9)


def test_plumed_compiles_the_source_itself(server, frames, tmp_path):
    shutil.copy(ACTION, tmp_path)
    run = driver(
        tmp_path,
        f"LOAD FILE=ForceServer.cpp\np: FORCESERVER ADDRESS={server.address} CV=polarization\n"
        "PRINT ARG=p.x FILE=COLVAR\n",
        frames,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert len(table(tmp_path / "COLVAR")["p.x"]) == 5


def test_one_oxygen_is_what_plumed_itself_makes_of_distances(action, tmp_path):
    """One O on one Ti: the radial function at PLUMED's distance times the direction of PLUMED's components."""
    from ase import Atoms

    frames = [
        Atoms("TiO", positions=[(0.1, 0.2, 0.3), (1.5 + 0.1 * k, 0.9, -0.4)], cell=[9] * 3, pbc=True) for k in range(4)
    ]
    cv = build(frames[0], outputs=["x", "y", "z", "norm"], per_centre=[])["polarization"]
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), {"polarization": cv}) as server:
        run = driver(
            tmp_path,
            f"LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=polarization\n"
            "d: DISTANCE ATOMS=1,2 COMPONENTS\nr: DISTANCE ATOMS=1,2\n"
            "PRINT ARG=p.x,p.y,p.z,p.norm,d.x,d.y,d.z,r FILE=COLVAR FMT=%.14g\n",
            frames,
        )
    assert run.returncode == 0, run.stdout + run.stderr
    colvar = table(tmp_path / "COLVAR")
    radial = variable_section(SECTION).basis.evaluate(10 * colvar["r"])[0][:, 1] @ [0.7, 0.3]
    for name in "xyz":
        expected = np.sqrt(3 / (4 * np.pi)) * radial * colvar[f"d.{name}"] / colvar["r"]
        np.testing.assert_allclose(colvar[f"p.{name}"], expected, atol=1e-8)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("ADDRESS={address} CV=entropy", "there is no collective variable 'entropy'; there are polarization"),
        ("ADDRESS=relative/path CV=polarization", "neither a path that begins with / nor host:port"),
        ("ADDRESS=/nonexistent/cv.sock CV=polarization RECONNECT=0", "cannot be reached: No such file or directory"),
        ("ADDRESS={address} CV=polarization TIMEOUT=0", "TIMEOUT must be positive"),
    ],
)
def test_what_is_wrong_is_an_error_of_plumed(server, action, frames, tmp_path, line, message):
    run = driver(tmp_path, f"LOAD FILE={action}\np: FORCESERVER {line.format(address=server.address)}\n", frames)
    assert run.returncode != 0
    assert message in run.stdout + run.stderr


def test_other_number_of_atoms(server, action, frames, tmp_path):
    run = driver(
        tmp_path, f"LOAD FILE={action}\nFORCESERVER ADDRESS={server.address} CV=polarization\n", [frames[0].repeat(2)]
    )
    assert run.returncode != 0
    assert "the client has 320 atoms, the structure in the configuration has 40" in run.stdout + run.stderr


@pytest.mark.parametrize(
    ("masses", "keyword", "is_right"),
    [
        (lambda m: 1822.9 * m, "", True),  # in another unit
        (lambda m: np.where(m < 20, 18.0, m), "", True),  # isotopes
        (lambda m: np.roll(m, 1), "", False),
        (lambda m: np.roll(m, 1), "NOMASSCHECK", True),
    ],
)
def test_atoms_in_another_order_are_an_error(action, batio3, frames, tmp_path, masses, keyword, is_right):
    """The values would be those of other atoms, without a word."""
    table_of = "".join(f"{k} {mass} 0\n" for k, mass in enumerate(masses(batio3.get_masses())))
    (tmp_path / "mc").write_text("#! FIELDS index mass charge\n" + table_of)
    with CVServer(CVServerConfig(address=str(tmp_path / "s")), build(batio3)) as server:
        text = f"LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=polarization {keyword}\n"
        run = driver(tmp_path, f"{text}PRINT ARG=p.x FILE=C\n", frames[:2], "--mc", "mc")
    assert (run.returncode == 0) == is_right, run.stdout + run.stderr
    assert is_right or "are the atoms in another order there? (NOMASSCHECK" in run.stdout + run.stderr


def interrupted_driver(folder, action, frames, address, keywords=""):
    lines = [
        f"LOAD FILE={action}",
        f"p: FORCESERVER ADDRESS={address} CV=polarization TIMEOUT=3 {keywords}",
        "PRINT ARG=p.x FILE=COLVAR",
    ]
    return driver(folder, "\n".join(lines) + "\n", frames)


@pytest.mark.parametrize("limit", [4, 30, 700, 5000, 12345])
def test_broken_connection_is_made_again_and_no_value_is_lost(batio3, action, frames, tmp_path, limit):
    """The connection breaks at any place: within headers, the description, the values."""
    with CVServer(CVServerConfig(address="127.0.0.1:0"), build(batio3)) as server:
        host, port = server.address.split(":")
        proxy = Proxy((host, int(port)), limit)
        through = f"127.0.0.1:{proxy.port}"
        run = interrupted_driver(tmp_path, action, frames, through)
        assert run.returncode == 0, run.stdout + run.stderr
        assert proxy.connections == 2
        broken = table(tmp_path / "COLVAR")["p.x"]
        (tmp_path / "COLVAR").unlink()
        interrupted_driver(tmp_path, action, frames, server.address)
        np.testing.assert_array_equal(broken, table(tmp_path / "COLVAR")["p.x"])


def test_server_that_stays_away_is_an_error_in_time(action, frames, tmp_path):
    """A server that describes the variable, takes positions, and dies."""
    listener = socket.create_server(("127.0.0.1", 0))

    def die():
        client, _ = listener.accept()
        client.recv(4096)
        client.sendall(protocol.pack_description(np.arange(40), np.ones(40), ("x",), False))
        client.recv(8)
        listener.close()
        client.close()

    threading.Thread(target=die, daemon=True).start()
    started = time.monotonic()
    run = interrupted_driver(tmp_path, action, frames, f"127.0.0.1:{listener.getsockname()[1]}", "RECONNECT=1")
    assert time.monotonic() - started < 15
    assert run.returncode != 0
    assert "cannot be reached" in run.stdout + run.stderr
    assert "forceserver drive" in run.stdout + run.stderr


def test_server_that_is_stuck_is_an_error_in_time(action, frames, tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))
    run = interrupted_driver(tmp_path, action, frames, f"127.0.0.1:{listener.getsockname()[1]}", "RECONNECT=1")
    assert run.returncode != 0
    assert "no answer from the server" in run.stdout + run.stderr


def test_something_else_that_listens_there(action, frames, tmp_path):
    listener = socket.create_server(("127.0.0.1", 0))

    def greet():
        client, _ = listener.accept()
        client.sendall(b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n")
        time.sleep(5)

    threading.Thread(target=greet, daemon=True).start()
    run = interrupted_driver(tmp_path, action, frames, f"127.0.0.1:{listener.getsockname()[1]}")
    assert run.returncode != 0
    assert "is not the CV server of forceserver" in run.stdout + run.stderr

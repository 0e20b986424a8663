"""Metadynamics in i-PI whose server, or i-PI itself, is killed at any moment: no hill is lost, none comes twice."""

import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from bias_runs import PACE, prepare, start
from ipi_runs import BIN, HERE, ended

FILES = "HILLS", "COLVAR", "out.properties", "out.centroid.xyz"
LOG = re.compile(r"^driver (\d+)$", re.MULTILINE)


def start_server(folder):
    return start(folder, "server.log", sys.executable, str(HERE / "respawning_server.py"), "forceserver.toml")


def start_ipi(folder, source="input.xml"):
    return start(folder, "ipi.log", str(BIN / "i-pi"), source)


def said(folder, name):
    path = folder / f"{name}.log"
    return path.read_text(errors="replace") if path.exists() else ""


def finish(folder, ipi, seconds):
    assert ipi.wait(seconds) == 0, said(folder, "ipi")[-3000:] + said(folder, "server")[-3000:]
    assert "Traceback" not in said(folder, "server"), said(folder, "server")[-3000:]


def undisturbed(folder, crystal, way, steps, action):
    prepare(folder, crystal, way, 2, steps, action)
    with ended(start_server(folder)) as processes:
        processes.append(start_ipi(folder))
        finish(folder, processes[1], 500)


def kill_server(folder, kills, ipi, dice):
    """Kills the server `kills` times: mostly while it works, otherwise while it starts or i-PI waits for it."""
    reached = 0
    for done in range(kills):
        while len(pids := LOG.findall(said(folder, "server"))) <= done:
            time.sleep(0.005)
        if dice.random() < 0.8 or done == 0:
            deadline = time.monotonic() + 120
            while lines(folder / "out.properties") <= max(reached, 3):
                assert ipi.poll() is None, said(folder, "ipi")[-3000:]
                assert time.monotonic() < deadline, said(folder, "server")[-3000:]
                time.sleep(0.005)
        time.sleep(dice.uniform(0.0, 0.1))
        reached = lines(folder / "out.properties")
        assert ipi.poll() is None, f"i-PI ended after {done} kills: more steps are needed"
        os.kill(int(pids[-1]), signal.SIGKILL)


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def assert_same(quiet, rough, exact):
    for name in FILES:
        if exact:
            assert (rough / name).read_bytes() == (quiet / name).read_bytes(), name
        else:
            found, expected = (_numbers(folder / name) for folder in (rough, quiet))
            assert found.shape == expected.shape, name
            begin = slice(len(found) // 4)  # rounding doubles every hundred steps: the dynamics is chaotic
            np.testing.assert_allclose(found[begin], expected[begin], rtol=1e-6, atol=1e-9, err_msg=name)
    for name in "HILLS", "COLVAR":
        times = [np.loadtxt(folder / name)[:, 0] for folder in (rough, quiet)]
        np.testing.assert_array_equal(*times, err_msg=name)


def _numbers(path):
    """All numbers of a table or a trajectory."""
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    return np.array([float(word) for row in rows for word in row if re.fullmatch(r"[-+.\de]+", word)])


COUNTS = [
    pytest.param(6, 200, id="few"),
    pytest.param(200, 6000, id="many", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
]


@pytest.mark.long
@pytest.mark.parametrize(("kills", "steps"), COUNTS)
@pytest.mark.parametrize(
    "way", ["embedded", *(pytest.param(way, marks=pytest.mark.plumed) for way in ("hosted", "action"))]
)
def test_killed_server(way, kills, steps, crystal, tmp_path, request):
    """Embedded: everything has the same bits. Hosted and action: to the digits of PLUMED's units."""
    action = request.getfixturevalue("action") if way == "action" else None
    quiet, rough = tmp_path / "quiet", tmp_path / "rough"
    undisturbed(quiet, crystal, way, steps, action)
    prepare(rough, crystal, way, 2, steps, action)
    with ended(start_server(rough)) as processes:
        processes.append(start_ipi(rough))
        kill_server(rough, kills, processes[1], random.Random(kills))
        finish(rough, processes[1], 1000)
    assert len(np.loadtxt(rough / "HILLS")) >= steps // PACE - 1
    assert_same(quiet, rough, exact=way == "embedded")


def last_checkpoint(folder):
    """The last one that i-PI has written to its end, and its step; none: its input."""
    found = [
        (int(step[1]), path.name)
        for path in folder.glob("out.checkpoint_*")
        if (text := path.read_text()).rstrip().endswith("</simulation>")
        and (step := re.search(r"<step>\s*(\d+)\s*</step>", text))
    ]
    return max(found, default=(0, "input.xml"))


def forget_what_comes_again(folder, checkpoint):
    """What docs/plumed.md says for PLUMED inside i-PI: RESTART, and files up to the step of the checkpoint."""
    plumed_dat = folder / "plumed.dat"
    if not plumed_dat.read_text().startswith("RESTART"):
        plumed_dat.write_text("RESTART\n" + plumed_dat.read_text())
    step = int(re.search(r"<plumed_step>\s*(\d+)", (folder / checkpoint).read_text())[1])
    for name in "HILLS", "COLVAR":
        kept = [
            line
            for line in (folder / name).read_text().splitlines(keepends=True)
            if line.startswith("#") or (line.endswith("\n") and float(line.split()[0]) <= step)
        ]
        (folder / name).write_text("".join(kept))


def run_with_dying_ipi(folder, kills, server_too, dice, before_start=lambda folder, checkpoint: None):
    """Kills i-PI, and the server with it, each time some steps after a checkpoint; goes on from that."""
    prefix = re.search("sockets_prefix='(.*?)'", (folder / "input.xml").read_text())[1]
    sockets = [Path(f"{prefix}{address}") for address in ("force", "bias")]
    with ended(start_server(folder)) as processes:
        processes.append(start_ipi(folder))
        for _ in range(kills):
            reached = last_checkpoint(folder)[0]
            deadline = time.monotonic() + 120
            while last_checkpoint(folder)[0] == reached:
                assert processes[-1].poll() is None, "i-PI ended: more steps are needed"
                assert time.monotonic() < deadline, said(folder, "ipi")[-3000:]
                time.sleep(0.02)
            time.sleep(dice.uniform(0.0, 0.2))
            os.killpg(processes[-1].pid, signal.SIGKILL)
            if server_too:
                os.kill(int(LOG.findall(said(folder, "server"))[-1]), signal.SIGKILL)
            processes[-1].wait()
            for socket in sockets:  # i-PI does not take over those that it has left
                socket.unlink(missing_ok=True)
            before_start(folder, last_checkpoint(folder)[1])
            processes.append(start_ipi(folder, last_checkpoint(folder)[1]))
        finish(folder, processes[-1], 500)


def rough_runs():
    """Way, whether the server dies, too, kills, steps."""
    for way, marks in ("embedded", ()), ("hosted", (pytest.mark.plumed,)):
        yield pytest.param(way, way == "embedded", 2, 140, marks=marks)
        for server_too in False, True:
            yield pytest.param(way, server_too, 40, 3000, marks=[*marks, pytest.mark.slow, pytest.mark.timeout(1800)])


@pytest.mark.long
@pytest.mark.parametrize(("way", "server_too", "kills", "steps"), list(rough_runs()))
def test_killed_ipi(way, server_too, kills, steps, crystal, tmp_path):
    """i-PI goes on from a checkpoint that is older than the last hills: the bias goes back with it."""
    quiet, rough = tmp_path / "quiet", tmp_path / "rough"
    undisturbed(quiet, crystal, way, steps, None)
    prepare(rough, crystal, way, 2, steps, checkpoints=20)
    run_with_dying_ipi(rough, kills, server_too, random.Random(kills))
    assert said(rough, "server").count("the engine went back") > 0
    for name in "HILLS", "COLVAR":
        np.testing.assert_allclose(np.loadtxt(rough / name), np.loadtxt(quiet / name), rtol=1e-6, atol=1e-9)
    assert (rough / "COLVAR.undone").exists()
    last = np.loadtxt(quiet / "out.properties")[-1]
    np.testing.assert_allclose(np.loadtxt(rough / "out.properties")[-1], last, rtol=1e-7, atol=1e-10)


@pytest.mark.plumed
def test_killed_ipi_with_plumed_inside(crystal, action, tmp_path):
    """The hills are PLUMED's, and i-PI's restart does not take them back: the user does."""
    quiet, rough = tmp_path / "quiet", tmp_path / "rough"
    undisturbed(quiet, crystal, "action", 140, action)
    prepare(rough, crystal, "action", 2, 140, action, checkpoints=20)
    with open(rough / "plumed.dat", "a") as file:
        file.write("FLUSH STRIDE=1\n")  # otherwise hills die with i-PI
    run_with_dying_ipi(rough, 2, False, random.Random(1), forget_what_comes_again)
    for name in "HILLS", "COLVAR":
        np.testing.assert_allclose(np.loadtxt(rough / name), np.loadtxt(quiet / name), rtol=1e-6, atol=1e-9)

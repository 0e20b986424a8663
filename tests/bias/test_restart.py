"""Killed at any moment, the bias goes on as if it had not been."""

import os
import resource
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from bias_case import open_bias, trajectory

from forceserver.errors import BiasError, InputError

EXTRA = {"moving_restraints": [{"variable": "p", "steps": [0, 100], "at": [-1, 1], "kappa_eV": [0.5, 1]}]}
KINDS = {"metadynamics": EXTRA, "opes": EXTRA | {"opes": {}}, "explore": EXTRA | {"opes": {"explore": True}}}
each_kind = pytest.mark.parametrize("kind", list(KINDS))


def undisturbed(folder, walk, kind="metadynamics"):
    folder.mkdir()
    bias = open_bias(folder, **KINDS[kind])
    found = [(bias.advance(s), *bias.compute(s))[1:] for s in walk]
    bias.close()
    return [(energy, tuple(gradient)) for energy, gradient in found]


def files(folder):
    names = ("HILLS", "KERNELS", "STATE", "COLVAR", "BIAS.clock")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


@each_kind
def test_a_restart_at_every_step_gives_the_same_bits(kind, tmp_path):
    walk = trajectory(40)
    expected = undisturbed(tmp_path / "a", walk, kind)
    again = tmp_path / "b"
    again.mkdir()
    for n, s in enumerate(walk):
        for attempt in range(2):  # the configuration comes again after a restart
            bias = open_bias(again, **KINDS[kind])
            assert bias.advance(s) == (attempt == 0)
            energy, gradient = bias.compute(s)
            assert (energy, tuple(gradient)) == expected[n]
            bias.close()
    assert files(again) == files(tmp_path / "a")


@each_kind
def test_death_between_the_hill_and_the_clock_doubles_nothing(kind, tmp_path, monkeypatch):
    walk = trajectory(30)
    expected = undisturbed(tmp_path / "a", walk, kind)
    again = tmp_path / "b"
    again.mkdir()
    from forceserver.bias.journal import RecentSteps

    def die(*_, **__):
        raise KeyboardInterrupt

    for n, s in enumerate(walk):
        bias = open_bias(again, **KINDS[kind])
        with monkeypatch.context() as patch:
            patch.setattr(RecentSteps, "tick", die)
            with pytest.raises(KeyboardInterrupt):
                bias.advance(s)
        bias.close()
        bias = open_bias(again, **KINDS[kind])
        assert bias.advance(s)
        energy, gradient = bias.compute(s)
        assert (energy, tuple(gradient)) == expected[n]
        bias.close()
    assert files(again) == files(tmp_path / "a")


def test_a_hill_that_is_ahead_of_the_clock_does_not_act_on_its_own_configuration(tmp_path):
    walk = trajectory(30)
    expected = undisturbed(tmp_path / "a", walk)
    again = tmp_path / "b"
    again.mkdir()
    for n in range(30):
        bias = open_bias(again, **EXTRA)
        bias.advance(walk[n])
        bias.close()
        if n + 1 < 30:
            state = (again / "BIAS.clock").read_bytes()
            bias = open_bias(again, **EXTRA)
            bias.advance(walk[n + 1])
            bias.close()
            (again / "BIAS.clock").write_bytes(state)
        bias = open_bias(again, **EXTRA)
        assert not bias.advance(walk[n])
        energy, gradient = bias.compute(walk[n])
        assert (energy, tuple(gradient)) == expected[n]
        bias.close()
    assert files(again) == files(tmp_path / "a")


@pytest.mark.parametrize("cut", [1, 5, 60, 120])
def test_a_truncated_hill_is_dropped_reported_and_written_again(tmp_path, cut, caplog):
    walk = trajectory(30)
    expected = undisturbed(tmp_path / "a", walk)
    again = tmp_path / "b"
    again.mkdir()
    bias = open_bias(again, **EXTRA)
    for s in walk[:13]:
        bias.advance(s)
    state = (again / "BIAS.clock").read_bytes()  # step 12: its hill is due
    bias.advance(walk[13])
    bias.close()
    text = (again / "HILLS").read_bytes()
    (again / "HILLS").write_bytes(text[:-cut])
    (again / "BIAS.clock").write_bytes(state)
    bias = open_bias(again, **EXTRA)
    assert "dropped the incomplete last line" in caplog.text
    for n in range(13, 30):
        bias.advance(walk[n])
        energy, gradient = bias.compute(walk[n])
        assert (energy, tuple(gradient)) == expected[n]
    bias.close()
    assert files(again) == files(tmp_path / "a")


def test_without_a_clock_the_time_of_the_last_hill_counts(tmp_path):
    walk = trajectory(30)
    undisturbed(tmp_path / "a", walk)
    (tmp_path / "a" / "BIAS.clock").unlink()
    (tmp_path / "a" / "COLVAR").unlink()
    bias = open_bias(tmp_path / "a", **EXTRA)
    assert bias.step == 27
    bias.close()
    (tmp_path / "a" / "BIAS.clock").write_text("torn{")
    assert open_bias(tmp_path / "a", **EXTRA).step == 27


def test_without_a_clock_no_row_is_there_twice(tmp_path):
    """Of the rows after the last hill the last was gone, the others came twice."""
    walk = trajectory(30)

    def times(name):
        return [float(line.split()[0]) for line in (tmp_path / name).read_text().splitlines() if line[0] != "#"]

    for steps in (walk, walk[10:]):
        (tmp_path / "BIAS.clock").unlink(missing_ok=True)
        bias = open_bias(tmp_path, colvar_stride_steps=1)
        for s in steps:
            bias.advance(s)
        bias.close()
    np.testing.assert_allclose(times("COLVAR"), 0.0005 * np.arange(28 + 20))
    np.testing.assert_allclose(times("COLVAR.undone"), [0.014, 0.0145])


def test_a_hill_is_on_disk_before_it_acts(tmp_path, monkeypatch):
    bias, events = open_bias(tmp_path), []
    total = bias.total.growing.total
    write, fsync, add = os.write, os.fsync, total.add
    hills = bias.journal._deposits._file
    monkeypatch.setattr(
        os, "write", lambda file, data: (events.append("write") if file == hills else None, write(file, data))[1]
    )
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("sync"), fsync(file))[1])
    monkeypatch.setattr(total, "add", lambda *hills: (events.append("add"), add(*hills))[1])
    for s in trajectory(8):
        bias.advance(s)
    assert events == ["write", "sync", "add"] * 2


def test_an_error_between_hill_and_clock_doubles_no_hill(tmp_path):
    bias = open_bias(tmp_path, walkers={"id": 0, "count": 2, "directory": tmp_path}, colvar_file=None)
    for s in trajectory(4):
        bias.advance(s)
    (tmp_path / "HILLS.1").write_text("#! FIELDS something else\n1 2\n")
    for _ in range(3):
        with pytest.raises(InputError, match=r"HILLS\.1 is not a HILLS file"):
            bias.advance([0.5, 0.5])
    (tmp_path / "HILLS.1").unlink()
    assert bias.advance([0.5, 0.5])
    assert len(np.loadtxt(tmp_path / "HILLS.0", ndmin=2)) == 1
    energy = bias.compute(trajectory(4)[3])[0]
    assert energy == pytest.approx(0.05, rel=1e-4)


def test_a_full_disk_leaves_no_half_line(tmp_path):
    expected = undisturbed(tmp_path / "a", trajectory(30))
    again = tmp_path / "b"
    again.mkdir()
    bias = open_bias(again, **EXTRA, colvar_file=None)
    for s in trajectory(10):
        bias.advance(s)
    before = (again / "HILLS").read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 40, hard))  # the next line does not fit
    try:
        for _ in range(2):
            with pytest.raises(BiasError, match=r"cannot write to .*HILLS"):
                bias.advance(trajectory(30)[10])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (again / "HILLS").read_bytes() == before
    for n in range(10, 30):
        bias.advance(trajectory(30)[n])
        energy, gradient = bias.compute(trajectory(30)[n])
        assert (energy, tuple(gradient)) == expected[n]


def test_a_second_writer_is_refused(tmp_path):
    bias = open_bias(tmp_path)
    with pytest.raises(InputError, match="another process writes to"):
        open_bias(tmp_path)
    bias.close()
    open_bias(tmp_path).close()


def test_lost_hills_are_an_error(tmp_path):
    undisturbed(tmp_path / "a", trajectory(30))
    (tmp_path / "a" / "HILLS").unlink()
    with pytest.raises(InputError, match="knows of 9 hills, but HILLS has 0"):
        open_bias(tmp_path / "a", **EXTRA)
    assert not (tmp_path / "a" / "HILLS").exists()  # other walkers would read the empty one that was made


def test_lost_hills_of_a_walker_do_not_stop_the_others(tmp_path):
    """A start in vain made an empty file, and those who had read the one before ended."""
    walkers = [{"id": k, "count": 2, "directory": tmp_path} for k in range(2)]
    first, second = (open_bias(tmp_path, walkers=keys, colvar_file=None) for keys in walkers)
    for s in trajectory(10):
        first.advance(s)
        second.advance(s)
    second.close()
    (tmp_path / "HILLS.1").rename(tmp_path / "kept")
    with pytest.raises(InputError, match=r"knows of 2 hills, but HILLS\.1 has 0"):
        open_bias(tmp_path, walkers=walkers[1], colvar_file=None)
    for s in trajectory(20)[10:]:
        first.advance(s)
    (tmp_path / "kept").rename(tmp_path / "HILLS.1")
    first.advance([0.5, 0.5])
    open_bias(tmp_path, walkers=walkers[1], colvar_file=None).close()


CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from bias_case import open_bias, trajectory
from test_restart import KINDS
bias = open_bias(Path(sys.argv[2]), **KINDS[sys.argv[4]])
for n, s in enumerate(trajectory(int(sys.argv[3]))):
    if n >= bias.step:
        bias.advance(s)
        energy, gradient = bias.compute(s)
        print(n, energy.hex(), *(g.hex() for g in gradient.tolist()), flush=True)
print("end", flush=True)
"""


@pytest.mark.parametrize("kind", ["metadynamics", pytest.param("opes", marks=pytest.mark.long)])
@pytest.mark.parametrize(
    ("kills", "steps"), [(8, 1500), pytest.param(200, 6000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])]
)
def test_kill_9_at_random_moments_loses_no_hill_and_doubles_none(tmp_path, kills, steps, kind):
    walk = trajectory(steps)
    expected = undisturbed(tmp_path / "a", walk, kind)
    again, rng, seen, ended = tmp_path / "b", np.random.default_rng(5), {}, False
    again.mkdir()
    killed = 0
    while not ended:
        command = [sys.executable, "-c", CHILD, os.path.dirname(__file__), str(again), str(steps), kind]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            first = child.stdout.readline()  # started
            if killed < kills:
                time.sleep(rng.uniform(0, 0.004 if kills > 8 else 0.02))
                child.send_signal(signal.SIGKILL)
                killed += 1
            for line in [first, *child.stdout]:
                words = line.split()
                if line.endswith("\n") and len(words) == 4:
                    values = [float.fromhex(word) for word in words[1:]]
                    seen.setdefault(int(words[0]), []).append((values[0], tuple(values[1:])))
                ended = ended or line == "end\n"
    assert killed == kills
    for n, results in seen.items():
        assert set(results) == {expected[n]}
    assert files(again) == files(tmp_path / "a")
    assert {path.name for path in again.iterdir()} == {path.name for path in (tmp_path / "a").iterdir()}

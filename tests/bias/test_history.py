"""What a bias remembers of its configurations, and how it goes back to one of them."""

import numpy as np
import pytest
from bias_case import open_bias, trajectory
from polarization import POLARIZATION

from forceserver.bias.atomic import AtomicBias
from forceserver.bias.config import MetadynamicsSection
from forceserver.bias.history import CLOSE, History, marks_of
from forceserver.cv import CVConfig, build_variables
from forceserver.errors import InputError
from forceserver.frame import Frame

WALK = trajectory(40)
MARKS = np.random.default_rng(4).normal(size=(40, 4))
EXTRA = {
    "moving_restraints": [{"variable": "p", "steps": [0, 100], "at": [-1, 1], "kappa_eV": [0.5, 1]}],
    "colvar_stride_steps": 1,
}


def go(bias, steps):
    """Bias and gradient at each of the steps."""
    found = []
    for n in steps:
        assert bias.advance(WALK[n], MARKS[n])
        energy, gradient = bias.compute(WALK[n])
        found.append((energy, *gradient))
    return found


def files(folder):
    return [(folder / name).read_bytes() for name in ("HILLS", "COLVAR", "BIAS.clock")]


@pytest.mark.parametrize("grid", ["fixed", "grow", "none"])
@pytest.mark.parametrize("restart", [False, True])
def test_an_engine_that_goes_back_takes_the_bias_with_it(tmp_path, grid, restart):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    changes = EXTRA | {"hills": {"grid": grid}}
    quiet = open_bias(tmp_path / "a", **changes)
    expected = go(quiet, range(40))
    quiet.close()
    bias = open_bias(tmp_path / "b", **changes)
    go(bias, range(31))
    for back in (25, 31, 13, 1):  # 31: where it goes on anyway
        if restart:
            bias.close()
            bias = open_bias(tmp_path / "b", **changes)
        bias.begin_connection()
        assert go(bias, range(back, 35)) == expected[back:35]
    go(bias, range(35, 40))
    bias.close()
    assert files(tmp_path / "b") == files(tmp_path / "a")
    undone = np.loadtxt(tmp_path / "b" / "COLVAR.undone")[:, 0] / 0.0005
    assert undone.round().astype(int).tolist() == [*range(25, 31), *range(31, 35), *range(13, 35), *range(1, 35)]
    undone = np.loadtxt(tmp_path / "b" / "HILLS.undone")[:, 0] / 0.0005
    assert undone.round().astype(int).tolist() == [24, 27, 30, 33, *range(12, 34, 3), *range(3, 34, 3)]


@pytest.mark.parametrize("method", ["cut", "replay"])
def test_death_on_the_way_back(tmp_path, monkeypatch, method):
    for name in "ab":
        (tmp_path / name).mkdir()
    quiet = open_bias(tmp_path / "a", **EXTRA)
    expected = go(quiet, range(40))
    quiet.close()
    bias = open_bias(tmp_path / "b", **EXTRA)
    go(bias, range(31))

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bias._hills, method, die)
        bias.begin_connection()
        with pytest.raises(KeyboardInterrupt):
            bias.advance(WALK[11], MARKS[11])
    bias.close()
    bias = open_bias(tmp_path / "b", **EXTRA)
    assert bias.step == 10
    assert go(bias, range(11, 40)) == expected[11:]
    bias.close()
    assert files(tmp_path / "b") == files(tmp_path / "a")


def test_a_new_run_from_the_first_configuration_keeps_the_old_bias(tmp_path):
    bias = open_bias(tmp_path)
    for _ in range(2):
        bias.begin_connection()
        go(bias, range(20))
    assert bias.step == 39
    assert not (tmp_path / "HILLS.undone").exists()
    bias.begin_connection()
    assert bias.advance(WALK[10], MARKS[10])  # of the second run
    assert bias.step == 30
    assert not bias.advance(WALK[10], MARKS[10])


def test_hills_that_others_share_remain(tmp_path, caplog):
    bias = open_bias(tmp_path, walkers={"id": 0, "count": 2, "directory": tmp_path})
    for steps in range(20), range(10, 15):
        bias.begin_connection()
        go(bias, steps)
    assert bias.step == 24
    assert caplog.text.count("other walkers have them") == 1
    assert len(np.loadtxt(tmp_path / "HILLS.0")) == 7


def test_marks_survive_rounding_and_tell_small_moves_apart(batio3):
    frame = Frame.from_ase(batio3)
    marks = marks_of(frame)
    rng = np.random.default_rng(1)
    for _ in range(100):
        frame.positions = batio3.positions + rng.uniform(-2.7e-8, 2.7e-8, (40, 3))  # i-PI's nine digits, below 100 bohr
        assert abs(marks_of(frame) - marks).max() < 0.3 * CLOSE
        frame.positions = batio3.positions + rng.normal(0, 1e-5, (40, 3))
        assert abs(marks_of(frame) - marks).max() > CLOSE
    frame.positions = batio3.positions
    frame.cell = frame.cell * (1 + 1e-5)
    assert abs(marks_of(frame) - marks).max() > CLOSE


def test_a_configuration_that_is_visited_again_is_a_new_step(tmp_path):
    """Hills were removed once when a trajectory came to the same place twice without any restart."""
    bias = open_bias(tmp_path, **EXTRA)
    go(bias, [*range(31), *range(5, 20)])
    assert bias.step == 45
    assert len(np.loadtxt(tmp_path / "HILLS")) == 14
    assert not (tmp_path / "HILLS.undone").exists()


def _recognised(history, step: int) -> int | None:
    """As which step the configuration of `step` is recognised after a connection."""
    history.begin_connection()
    return history.recognise(MARKS[step])


def test_the_memory_is_a_ring(tmp_path):
    history = History(tmp_path / "clock", [("n", "i8")], span=8)
    for n in range(20):
        history.tick(n, MARKS[n], n=2 * n)
    assert [_recognised(history, n) for n in (11, 12, 19)] == [None, 12, 19]
    assert history.record(11) is None
    assert history.record(12)["n"] == 24
    assert not history.begin_return_before(12)  # the step before is forgotten
    history.close()
    again = History(tmp_path / "clock", [("n", "i8")], span=8)
    assert again.step == 19
    assert _recognised(again, 13) == 13
    assert again.recognise(MARKS[13]) is None, "in the middle of a connection it is a new step"
    assert again.recognise(MARKS[19]) == 19
    assert again.begin_return_before(14)
    again.close()
    again = History(tmp_path / "clock", [("n", "i8")], span=8)
    assert again.returning == 13
    again.end_return()
    assert (again.step, _recognised(again, 15)) == (13, None)
    again.close()
    with pytest.raises(InputError, match="belongs to another bias or system"):
        History(tmp_path / "clock", [("n", "i8", (2,))], span=8)


@pytest.mark.parametrize("groups", [{}, {"left": [1, 6], "right": [11, 16]}])
def test_values_have_the_same_bits_after_any_restart(batio3, tmp_path, groups, monkeypatch):
    """The neighbour lists are those of the undisturbed run, although they are built at another time."""
    frame = Frame.from_ase(batio3)
    variables = build_variables(
        [CVConfig.model_validate(POLARIZATION | {"name": "p", "groups": groups, "skin_angstrom": 0.3})], frame
    )
    names = [f"p_{output}" for output in next(iter(variables.values())).outputs]
    rng = np.random.default_rng(3)
    steps = np.cumsum(rng.normal(0, 0.02, (60, *frame.positions.shape)), axis=0)

    def run(folder, restarts):
        folder.mkdir()
        monkeypatch.chdir(folder)
        section = {
            "time_step_fs": 1,
            "variables": [{"name": name, "sigma": 0.01} for name in names[:3]],
            "hills": {
                "height_eV": 0.1,
                "pace_steps": 2,
                "temperature_K": 300,
                "grid": "none",
                "file": folder / "HILLS",
            },
        }

        def start():
            section_ = MetadynamicsSection.model_validate(section)
            return AtomicBias(section_.build(), variables, section_.lists_file)

        bias, results, builds = start(), [], 0
        for n, step in enumerate(steps):
            frame.positions = batio3.positions + step
            if restarts and rng.random() < 0.5:
                bias.close()
                bias = start()
            result = bias.compute_one(frame)
            results.append((result.energy, result.forces.tobytes(), result.virial.tobytes()))
            builds = max(builds, *bias._variables._builds) if not restarts else n
        bias.close()
        return results, (folder / "HILLS").read_bytes(), builds

    quiet, rough = run(tmp_path / "quiet", False), run(tmp_path / "rough", True)
    assert groups or quiet[2] > 2  # lists were built on the way
    assert rough[0] == quiet[0]
    assert rough[1] == quiet[1]

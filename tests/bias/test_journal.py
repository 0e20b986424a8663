"""What a bias remembers of its configurations, and how it goes back to one of them."""

import contextlib
import tempfile
from pathlib import Path

import numpy as np
import pytest
from bias_case import open_bias, trajectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polarization import POLARIZATION

from forceserver.bias.atomic import AtomicBias
from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.journal import Journal, RecentSteps, colvar, deposits, fingerprint_of, last_step
from forceserver.bias.journal.colvar import ColvarFile
from forceserver.bias.journal.deposits import DepositFile
from forceserver.bias.journal.fingerprint import CLOSE
from forceserver.bias.metadynamics import GrowingHills
from forceserver.bias.opes.bias import Opes
from forceserver.bias.opes.state import StateFile
from forceserver.bias.plumed.config import PlumedConfig
from forceserver.cv import build_variables, variable_section
from forceserver.errors import InputError
from forceserver.frame import Frame

WALK = trajectory(40)
FINGERPRINTS = np.random.default_rng(4).normal(size=(40, 4))
EXTRA = {
    "moving_restraints": [{"variable": "p", "steps": [0, 100], "at": [-1, 1], "kappa_eV": [0.5, 1]}],
    "colvar_stride_steps": 1,
}


def go(bias, steps, all_new=True):
    """Bias and gradient at each of the steps; all_new: none of them may have been taken in before."""
    found = []
    for n in steps:
        assert bias.advance(WALK[n], FINGERPRINTS[n]) or not all_new
        energy, gradient = bias.compute(WALK[n])
        found.append((energy, *gradient))
    return found


def files(folder):
    names = ("HILLS", "KERNELS", "STATE", "COLVAR", "BIAS.clock")
    return {name: (folder / name).read_bytes() for name in names if (folder / name).exists()}


BIASES = {grid: {"hills": {"grid": grid}} for grid in ("fixed", "grow", "none")} | {
    "opes": {"opes": {}},
    "explore": {"opes": {"explore": True}},
}


@pytest.mark.parametrize("kind", list(BIASES))
@pytest.mark.parametrize("restart", [False, True])
def test_an_engine_that_goes_back_takes_the_bias_with_it(tmp_path, kind, restart):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    changes = EXTRA | BIASES[kind]
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
    file, first = ("KERNELS.undone", 9) if "opes" in changes else ("HILLS.undone", 3)  # widths are measured first
    undone = np.loadtxt(tmp_path / "b" / file)[:, 0] / 0.0005
    assert undone.round().astype(int).tolist() == [24, 27, 30, 33, *range(12, 34, 3), *range(first, 34, 3)]


@pytest.mark.parametrize(
    ("place", "method"),
    [(Journal, "replay"), (DepositFile, "restore"), (RecentSteps, "settle"), (GrowingHills, "replay")],
)
def test_death_on_the_way_back(tmp_path, monkeypatch, place, method):
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
        patch.setattr(place, method, die)
        bias.begin_connection()
        with pytest.raises(KeyboardInterrupt):
            bias.advance(WALK[11], FINGERPRINTS[11])
    bias.close()
    bias = open_bias(tmp_path / "b", **EXTRA)
    assert bias.step == 10
    assert go(bias, range(11, 40)) == expected[11:]
    bias.close()
    assert files(tmp_path / "b") == files(tmp_path / "a")


def test_a_return_that_an_error_interrupts_is_completed_with_the_next_configuration(tmp_path, monkeypatch):
    """The bias went on with hills that its files no longer had, and with a clock that was ahead of them."""
    for name in "ab":
        (tmp_path / name).mkdir()
    quiet = open_bias(tmp_path / "a", **EXTRA)
    expected = go(quiet, range(40))
    quiet.close()
    bias = open_bias(tmp_path / "b", **EXTRA)
    go(bias, range(31))

    def fail(*_):
        raise OSError(28, "No space left on device")

    bias.begin_connection()
    for module in (deposits, colvar):
        with monkeypatch.context() as patch:
            patch.setattr(module, "undo", fail)
            with pytest.raises(OSError, match="No space left"):
                bias.advance(WALK[11], FINGERPRINTS[11])
    assert go(bias, range(11, 40)) == expected[11:]
    bias.close()
    assert files(tmp_path / "b") == files(tmp_path / "a")


DEATHS = (
    (DepositFile, "_append"),
    (GrowingHills, "add"),
    (Opes, "add"),
    (ColvarFile, "append"),
    (StateFile, "note"),
    (RecentSteps, "tick"),
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("steps"), st.integers(1, 9)),
        st.tuples(st.just("restart"), st.just(0)),
        st.tuples(st.just("die"), st.sampled_from(range(len(DEATHS)))),
        st.tuples(st.just("back"), st.integers(1, 12)),
    ),
    min_size=4,
    max_size=12,
)


@pytest.fixture(scope="module", params=["fixed", "opes"])
def undisturbed(request, tmp_path_factory):
    """Its folder, bias and gradient at each step, and what makes it of `open_bias`."""
    folder, changes = tmp_path_factory.mktemp("undisturbed"), EXTRA | BIASES[request.param]
    bias = open_bias(folder, **changes)
    found = go(bias, range(40))
    bias.close()
    return folder, found, changes


@settings(deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(EVENTS)
def test_whatever_happens_the_end_is_that_of_an_undisturbed_run(undisturbed, events):
    """Restarts, deaths between any two things that are done, and an engine that goes back, in any order."""
    quiet, expected, changes = undisturbed

    def die(*_, **__):
        raise KeyboardInterrupt

    with tempfile.TemporaryDirectory() as name:
        folder, n = Path(name), 0  # n: the configuration that comes next
        bias = open_bias(folder, **changes)
        for event, argument in [*events, ("steps", 40)]:
            if event == "steps":
                end = min(n + argument, 40)
                assert go(bias, range(n, end), all_new=False) == expected[n:end]
                n = end
            elif event == "back":
                n = max(n - argument, min(n, 1))  # the first configuration would be that of a new run
                bias.begin_connection()
            elif event == "die" and n < 40:
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(*DEATHS[argument], die)
                    with contextlib.suppress(KeyboardInterrupt):
                        bias.advance(WALK[n], FINGERPRINTS[n])
            if event in ("die", "restart"):
                bias.close()
                bias = open_bias(folder, **changes)
        bias.close()
        assert files(folder) == files(quiet)


def test_a_new_run_from_the_first_configuration_keeps_the_old_bias(tmp_path):
    bias = open_bias(tmp_path)
    for _ in range(2):
        bias.begin_connection()
        go(bias, range(20))
    assert bias.step == 39
    assert not (tmp_path / "HILLS.undone").exists()
    bias.begin_connection()
    assert bias.advance(WALK[10], FINGERPRINTS[10])  # of the second run
    assert bias.step == 30
    assert not bias.advance(WALK[10], FINGERPRINTS[10])


def test_hills_that_others_share_remain(tmp_path, caplog):
    bias = open_bias(tmp_path, walkers={"id": 0, "count": 2, "directory": tmp_path})
    for steps in range(20), range(10, 15):
        bias.begin_connection()
        go(bias, steps)
    assert bias.step == 24
    assert caplog.text.count("other walkers have them") == 1
    assert len(np.loadtxt(tmp_path / "HILLS.0")) == 7


def test_fingerprints_survive_rounding_and_tell_small_moves_apart(batio3):
    frame = Frame.from_ase(batio3)
    fingerprint = fingerprint_of(frame)
    rng = np.random.default_rng(1)
    for _ in range(100):
        frame.positions = batio3.positions + rng.uniform(-2.7e-8, 2.7e-8, (40, 3))  # i-PI's nine digits, below 100 bohr
        assert abs(fingerprint_of(frame) - fingerprint).max() < 0.3 * CLOSE
        frame.positions = batio3.positions + rng.normal(0, 1e-5, (40, 3))
        assert abs(fingerprint_of(frame) - fingerprint).max() > CLOSE
    frame.positions = batio3.positions
    frame.cell = frame.cell * (1 + 1e-5)
    assert abs(fingerprint_of(frame) - fingerprint).max() > CLOSE


def test_a_configuration_that_is_visited_again_is_a_new_step(tmp_path):
    """Hills were removed once when a trajectory came to the same place twice without any restart."""
    bias = open_bias(tmp_path, **EXTRA)
    go(bias, [*range(31), *range(5, 20)])
    assert bias.step == 45
    assert len(np.loadtxt(tmp_path / "HILLS")) == 14
    assert not (tmp_path / "HILLS.undone").exists()


def _recognised(steps, step: int) -> int | None:
    """As which step the configuration of `step` is recognised after a connection."""
    steps.begin_connection()
    return steps.recognise(FINGERPRINTS[step])


def test_the_memory_is_a_ring(tmp_path):
    steps = RecentSteps(tmp_path / "clock", [("n", "i8")], span=8)
    for n in range(20):
        steps.tick(n, FINGERPRINTS[n], n=2 * n)
    assert [_recognised(steps, n) for n in (11, 12, 19)] == [None, 12, 19]
    assert steps.record(11) is None
    assert steps.record(12)["n"] == 24
    assert not steps.go_back_before(12)  # the step before is forgotten
    steps.close()
    again = RecentSteps(tmp_path / "clock", [("n", "i8")], span=8)
    assert again.step == 19
    assert _recognised(again, 13) == 13
    assert again.recognise(FINGERPRINTS[13]) is None, "in the middle of a connection it is a new step"
    assert again.recognise(FINGERPRINTS[19]) == 19
    assert again.go_back_before(14)
    again.close()
    again = RecentSteps(tmp_path / "clock", [("n", "i8")], span=8)
    assert again.is_going_back
    again.settle()
    again.close()
    again = RecentSteps(tmp_path / "clock", [("n", "i8")], span=8)
    assert not again.is_going_back
    assert (again.step, _recognised(again, 15)) == (13, None)
    again.close()
    with pytest.raises(InputError, match="belongs to another bias or system"):
        RecentSteps(tmp_path / "clock", [("n", "i8", (2,))], span=8)


def test_where_a_clock_is_can_be_read_beside_its_owner(tmp_path):
    """Also of PLUMED's, on the way back, where there is none, and where there is something else."""
    path = tmp_path / "PLUMED.state"
    path.write_bytes(b"short")
    plumed = PlumedConfig(plumed_dat=__file__, time_step_fs=1, state_file=path)
    assert (last_step(tmp_path / "none"), last_step(path), plumed.begun()) == (-1, -1, "")
    path.unlink()
    with contextlib.closing(RecentSteps(path, [("n", "i8")])) as steps:
        for n in range(6):
            assert last_step(path) == n - 1
            assert plumed.begun() == (f"is at step {n - 1} in {path}" if n > 1 else "")
            steps.tick(n, FINGERPRINTS[n], n=n)
        assert steps.go_back_before(3)
        assert last_step(path) == 2


@pytest.mark.parametrize("groups", [{}, {"left": [1, 6], "right": [11, 16]}])
def test_values_have_the_same_bits_after_any_restart(batio3, tmp_path, groups, monkeypatch):
    """The neighbour lists are those of the undisturbed run, although they are built at another time."""
    frame = Frame.from_ase(batio3)
    variables = build_variables(
        [variable_section(POLARIZATION | {"name": "p", "groups": groups, "skin_angstrom": 0.3})], frame
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
            section_ = MetadynamicsConfig.model_validate(section)
            return AtomicBias(section_.build(), variables)

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


def edited(file, change):
    file.write_text("".join(change(file.read_text().splitlines(keepends=True))))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "HILLS",
            lambda lines: [*lines, lines[-3]],
            "HILLS has 1 more hills than the clock knows of, the last of them at 0.009 ps, before",
        ),
        ("HILLS", lambda lines: lines + lines[6:10], "HILLS has 4 more hills"),
        (
            "HILLS",
            lambda lines: [*lines[:-1], lines[-1].replace(lines[-1].split()[5], "nan")],
            "the hill at time 0.012",
        ),
        ("COLVAR", lambda lines: [*lines, "hello\n"], "COLVAR has the line 'hello', which is no row"),
    ],
)
def test_files_that_were_edited_are_refused(tmp_path, name, change, message):
    """Rows of another run set the clock back; one that was no number made the bias one where nobody looked."""
    bias = open_bias(tmp_path)
    for s in trajectory(26):
        bias.advance(s)
    bias.close()
    edited(tmp_path / name, change)
    with pytest.raises(InputError, match=message):
        open_bias(tmp_path)


def test_blank_lines_and_other_ends_of_lines_change_nothing(tmp_path):
    bias = open_bias(tmp_path)
    for s in trajectory(26):
        bias.advance(s)
    expected = bias.compute(trajectory(26)[-1])[0]
    bias.close()
    for name in ("HILLS", "COLVAR"):
        edited(tmp_path / name, lambda lines: [*(line.replace("\n", "\r\n") for line in lines), "\n"])
    bias = open_bias(tmp_path)
    assert bias.compute(trajectory(26)[-1])[0] == expected
    bias.close()

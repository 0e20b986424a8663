"""The embedded OPES: its density, its input, its files."""

import importlib

import numpy as np
import pydantic
import pytest
from bias_case import FREE, open_bias, section, trajectory
from hypothesis import given, settings
from hypothesis import strategies as st

from forceserver import _ext
from forceserver._ext import kernel
from forceserver.bias.config import MetadynamicsConfig
from forceserver.errors import BiasError, InputError
from forceserver.free_energy.kernel_sums import read_densities

KernelDensity = kernel("kernel_density").KernelDensity
PERIOD, LOWER = [0.0, 2.0, 0.0], [0.0, -1.0, 0.0]
OPES = {"opes": {}}


def go(bias, walk):
    found = []
    for s in walk:
        bias.advance(s)
        energy, gradient = bias.compute(s)
        found.append((energy, *gradient))
    return found


def density_of(numbers, dim, cutoff=4.0, threshold=1.0):
    """A density and, after each kernel, the sum over the centres as it is carried on."""
    density, pairs, sums = KernelDensity(PERIOD[:dim], LOWER[:dim], cutoff, threshold), 0.0, []
    for height, *rest in numbers:
        density.add(height, np.array(rest[:dim]), np.array(rest[dim:]))
        pairs = density.pair_sum(pairs)
        sums.append(pairs)
    return density, sums


def brute_force(density, points, cutoff):
    heights, centres, sigmas = density.kernels()
    d = points[:, None, :] - centres
    period = np.array(PERIOD[: d.shape[-1]])
    d -= np.where(period > 0, period * np.rint(d / np.where(period > 0, period, 1)), 0)
    q = np.sum((d / sigmas) ** 2, axis=-1)
    return np.sum(np.where(q < cutoff**2, heights * (np.exp(-q / 2) - np.exp(-(cutoff**2) / 2)), 0), axis=1)


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 3), st.integers(1, 120), st.integers(0, 2**31), st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_the_density_is_the_sum_of_its_kernels(dim, number, seed, threshold):
    rng = np.random.default_rng(seed)
    numbers = np.hstack(
        [rng.uniform(0.1, 3, (number, 1)), rng.uniform(-1, 1, (number, dim)), rng.uniform(0.05, 0.3, (number, dim))]
    )
    density, sums = density_of(numbers, dim, threshold=threshold)
    heights, centres, _ = density.kernels()
    assert density.count == len(heights) <= number
    assert threshold or density.count == number
    assert heights.sum() == pytest.approx(numbers[:, 0].sum(), rel=1e-12)  # merging keeps the weight
    points, gradient = rng.uniform(-1, 1, (5, dim)), np.empty(dim)
    found = [density.evaluate(point, gradient) for point in points]
    np.testing.assert_allclose(found, brute_force(density, points, 4.0), rtol=1e-12, atol=1e-13)
    assert sums[-1] == pytest.approx(brute_force(density, centres, 4.0).sum(), rel=1e-9)


def test_every_build_gives_the_same_bits():
    """Otherwise a bias that goes on in another node of a cluster may merge other kernels."""
    levels = _ext.LEVELS[: _ext.LEVELS.index(_ext.isa) + 1] if _ext.isa in _ext.LEVELS else (_ext.isa,)
    found = []
    for level in levels:
        rng, pairs = np.random.default_rng(5), 0.0
        build = importlib.import_module(f"forceserver._ext.{level}.kernel_density")
        density = build.KernelDensity(PERIOD, LOWER, 4.5, 1.0)
        for _ in range(500):
            density.add(rng.uniform(0.1, 3), rng.uniform(-1.5, 1.5, 3), rng.uniform(0.05, 0.3, 3))
            pairs = density.pair_sum(pairs)
        found.append((pairs, *(array.tobytes() for array in density.kernels())))
    assert len(set(found)) == 1


def test_merging_keeps_mean_and_variance():
    numbers = [[1.0, 0.1, 0.2], [3.0, 0.2, 0.3]]
    heights, centres, sigmas = density_of(numbers, 1)[0].kernels()
    assert (heights.tolist(), centres[0, 0]) == ([4.0], pytest.approx(0.175))
    second = (1 * (0.2**2 + 0.1**2) + 3 * (0.3**2 + 0.2**2)) / 4
    assert sigmas[0, 0] == pytest.approx(np.sqrt(second - 0.175**2))


def test_kernels_merge_across_the_end_of_a_period():
    numbers = [[1.0, 0.0, 0.98, 0.2, 0.2], [1.0, 0.0, -0.96, 0.2, 0.2]]
    heights, centres, _ = density_of(numbers, 2)[0].kernels()
    assert heights.tolist() == [2.0]
    np.testing.assert_allclose(centres, [[0, -0.99]], atol=1e-12)


@pytest.mark.parametrize("explore", [False, True])
def test_the_force_is_the_derivative_of_the_bias(tmp_path, explore):
    """But for the value of the kernels at their cutoff, which PLUMED's has, too."""
    bias = open_bias(tmp_path, opes={"explore": explore})
    go(bias, trajectory(300))
    opes = bias.total.growing
    heights, centres, sigmas = opes.density.kernels()
    cutoff, scale = opes.parameters.cutoff, opes.parameters.kt * opes.parameters.prefactor
    for s in trajectory(300)[-20:]:
        d = s - centres
        d[:, 1] -= 2 * np.pi * np.rint(d[:, 1] / (2 * np.pi))
        inside = np.sum((d / sigmas) ** 2, axis=1) < cutoff**2
        left_out = -np.sum((heights[:, None] * d / sigmas**2)[inside], axis=0) * np.exp(-(cutoff**2) / 2)
        probability = (
            np.exp(bias.compute(s)[0] / scale) * opes.zed * (opes.counter if explore else opes.sum_weights)
        )  # not normalised
        exact = bias.compute(s)[1] + scale * left_out / probability
        for k in range(2):
            h = np.eye(2)[k] * 1e-5
            slope = (bias.compute(s + h)[0] - bias.compute(s - h)[0]) / 2e-5
            assert slope == pytest.approx(exact[k], rel=1e-6, abs=1e-6)


def test_colvar_has_plumeds_columns_in_their_units(tmp_path):
    walls = [{"variable": "p", "side": "upper", "at": 1.0, "kappa_eV": 2.0}]
    bias = open_bias(tmp_path, **OPES, walls=walls, colvar_stride_steps=1)
    go(bias, trajectory(60))
    bias.close()
    head = (tmp_path / "COLVAR").read_text().splitlines()[0].split()[2:]
    columns = [f"opes.{name}" for name in ("bias", "rct", "zed", "neff", "nker")]
    assert head == ["time", "p", "angle", *columns, "walls.bias"]
    last = dict(zip(head, np.loadtxt(tmp_path / "COLVAR")[-1], strict=True))
    opes = bias.total.growing
    assert last["opes.nker"] == opes.density.count
    assert last["opes.zed"] == pytest.approx(opes.zed, rel=1e-8)
    assert last["opes.neff"] == pytest.approx(opes.effective_size, rel=1e-8)
    assert 1 < opes.effective_size < opes.counter
    kt = 0.0083144626 * 300
    assert last["opes.rct"] == pytest.approx(kt * np.log(opes.sum_weights / opes.counter), rel=1e-6)


def test_the_bias_starts_at_minus_the_barrier(tmp_path):
    bias = open_bias(tmp_path, **OPES)
    bias.advance([0.0, 0.0])
    energy, gradient = bias.compute([0.0, 0.0])
    assert energy == pytest.approx(-0.3)
    assert not gradient.any()


WRONG = [
    ({"barrier_eV": 0}, "barrier_eV", "greater than 0"),
    ({"barrier_eV": -0.3}, "barrier_eV", "greater than 0"),
    ({"barrier_eV": 0.02}, "", r"barrier_eV / kT = 0\.774 but must be above 1"),
    ({"barrier_eV": 100}, "", "so high that epsilon"),
    ({"bias_factor": 1}, "bias_factor", "greater than 1"),
    ({"bias_factor": "inf"}, "", "needs kernels of given widths"),
    ({"bias_factor": float("nan")}, "bias_factor", "greater than 1"),
    ({"bias_factor": "inf", "explore": True}, "", "samples the well-tempered distribution"),
    ({"compression_threshold": 6}, "", "must be below the cutoff of the kernels, 5.04"),
    ({"adaptive_sigma_stride_steps": 2}, "", "must not be less than pace_steps = 3"),
]


@pytest.mark.parametrize(("changes", "key", "message"), WRONG)
def test_input_that_cannot_be(changes, key, message, tmp_path):
    with pytest.raises(pydantic.ValidationError, match=message) as error:
        section(tmp_path, opes=changes)
    assert key in str(error.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": [{"name": "p", "sigma": 0.1}, {"name": "q"}]}, "p has a sigma, others have none"),
        ({"variables": [{"name": "p", "sigma_min": 0.1}, {"name": "q"}]}, "p has a sigma_min, others have none"),
        (
            {"variables": [{"name": "p", "lower": -1, "upper": 1}]},
            "OPES has no grid: leave out lower, upper and",
        ),
        ({"variables": [{"name": n} for n in "abcd"]}, "one to three variables, not on 4"),
        ({"variables": [{"name": "p", "sigma": 0.1}]}, "is for widths that are measured"),
        ({"walkers": {"id": 0, "count": 2, "directory": "."}}, "walkers cannot measure widths together: give sigma"),
        ({"hills": {"height_eV": 1, "pace_steps": 1, "temperature_K": 300}}, "one of hills, opes and multithermal"),
        ({"engine": "metadynamics"}, "goes with the table"),
    ],
)
def test_what_does_not_go_together(changes, message, tmp_path):
    with pytest.raises(pydantic.ValidationError, match=message):
        section(tmp_path, **OPES, **changes)


def test_the_engine_and_its_table_belong_together():
    with pytest.raises(pydantic.ValidationError, match="goes with the table opes or multithermal"):
        MetadynamicsConfig(engine="opes", time_step_fs=1, variables=[{"name": "p"}])


def test_a_constant_variable_is_named(tmp_path):
    bias, walk = open_bias(tmp_path, **OPES), trajectory(20)
    walk[:, 1] = 0.25
    with pytest.raises(BiasError, match=r"angle has not moved in 9 steps .* give sigma or sigma_min of angle"):
        go(bias, walk)
    bias.close()
    still = [FREE[0] | {"sigma_min": 0.1}, FREE[1] | {"sigma_min": 0.1}]
    bias = open_bias(tmp_path, **OPES, variables=still)
    assert bias.step == 9
    go(bias, walk[10:])
    assert bias.total.growing.has_kernels


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"variables": [{"name": "p"}]}, "is a bias on p angle, the configuration has p"),
        ({"variables": [{"name": "p"}, {"name": "angle"}]}, "the domain of angle is"),
        ({"opes": {"temperature_K": 310}}, "has the temperature 300, the configuration gives 310"),
        ({"opes": {"explore": True}}, "has the action OPES_METAD_kernels, the configuration gives OPES_METAD_EXPLORE"),
        ({"opes": {"barrier_eV": 0.4}}, r"has the biasfactor 11\.6"),
        ({"opes": {"compression_threshold": 0.5}}, "has the compression_threshold 1, the configuration gives 0.5"),
    ],
)
def test_kernels_of_another_bias_are_refused(changes, message, tmp_path):
    bias = open_bias(tmp_path, **OPES)
    go(bias, trajectory(20))
    bias.close()
    with pytest.raises(InputError, match=message):
        open_bias(tmp_path, **{**OPES, **changes}, clock_file=tmp_path / "other", colvar_file=None)


def test_kernels_of_another_temperature_alone_are_refused(tmp_path):
    """Where everything else is given, only our own word in the header tells."""
    same = {"bias_factor": 12, "epsilon": 1e-5, "kernel_cutoff": 5}
    bias = open_bias(tmp_path, opes=same)
    go(bias, trajectory(20))
    bias.close()
    with pytest.raises(InputError, match="KERNELS has the temperature 300, the configuration gives 310"):
        open_bias(tmp_path, opes=same | {"temperature_K": 310})


@pytest.mark.parametrize("cut", [1, 40, 400, 10**6])
def test_a_torn_state_is_reported_and_written_anew(tmp_path, cut, caplog):
    for name in "ab":
        (tmp_path / name).mkdir()
    quiet, bias = (open_bias(tmp_path / name, **OPES) for name in "ab")
    expected = go(quiet, trajectory(60))
    go(bias, trajectory(60)[:40])
    bias.close()
    text = (tmp_path / "b" / "STATE").read_bytes()
    (tmp_path / "b" / "STATE").write_bytes(text[: max(len(text) - cut, 0)])
    (tmp_path / "b" / ".STATE.123.part").write_bytes(text[:100])  # of a writer that was killed
    bias = open_bias(tmp_path / "b", **OPES)
    assert not (tmp_path / "b" / ".STATE.123.part").exists()
    assert "STATE is no complete STATE file" in caplog.text
    assert go(bias, trajectory(60)[40:]) == expected[40:]
    for name in "KERNELS", "STATE":
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "a" / name).read_bytes()


def test_a_state_whose_kernels_are_lost_is_an_error(tmp_path):
    bias = open_bias(tmp_path, **OPES)
    go(bias, trajectory(40))
    bias.close()
    (tmp_path / "KERNELS").unlink()
    (tmp_path / "BIAS.clock").unlink()
    with pytest.raises(InputError, match=r"STATE is the state after \d+ kernels, but KERNELS has 0"):
        open_bias(tmp_path, **OPES)


def test_a_lost_clock_loses_no_kernel_and_keeps_the_widths(tmp_path):
    walk = trajectory(300)
    for name in "ab":
        (tmp_path / name).mkdir()
    quiet, bias = (open_bias(tmp_path / name, **OPES) for name in "ab")
    go(quiet, walk)
    go(bias, walk[:250])
    bias.close()
    for name in "BIAS.clock", "COLVAR":
        (tmp_path / "b" / name).unlink()
    bias = open_bias(tmp_path / "b", **OPES)
    assert bias.step == 246  # of the last kernel
    go(bias, walk[247:])
    bias.close()
    ours, theirs = (np.loadtxt(tmp_path / name / "KERNELS") for name in "ba")
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours[:, 3:5], theirs[:, 3:5], rtol=0.05)  # the mean is that of the last kernel


def test_a_full_disk_does_not_stop_a_state_from_being_tried_again(tmp_path, caplog):
    (tmp_path / "no").mkdir()
    bias = open_bias(tmp_path, opes={"state_file": tmp_path / "no" / "STATE"})
    go(bias, trajectory(10))
    (tmp_path / "no").rmdir()
    go(bias, trajectory(40)[10:])
    assert "cannot write" in caplog.text
    (tmp_path / "no").mkdir()
    go(bias, trajectory(50)[40:])
    assert (tmp_path / "no" / "STATE").exists()


def test_widths_that_are_fixed_do_not_shrink(tmp_path):
    variables = [{"name": "p", "sigma": 0.2}, {"name": "angle", "sigma": 0.3, "domain": ["-pi", "pi"]}]
    opes = {"adaptive_sigma_stride_steps": None, "fixed_sigma": True, "bias_factor": "inf"}
    bias = open_bias(tmp_path, opes=opes, variables=variables)
    go(bias, trajectory(40))
    assert bias.total.growing.parameters.bias_factor == np.inf
    assert "#! SET biasfactor inf" in (tmp_path / "KERNELS").read_text()
    np.testing.assert_array_equal(np.loadtxt(tmp_path / "KERNELS")[:, 3:5], [[0.2, 0.3]] * 12)


def test_walkers_share_their_kernels(tmp_path):
    """Their biases are one, up to what the order of merging does, and go on from all files."""

    def walker(k):
        walkers = {"id": k, "count": 2, "directory": tmp_path / "shared"}
        variables = [{"name": "p", "sigma": 0.2}, {"name": "angle", "sigma": 0.3, "domain": ["-pi", "pi"]}]
        opes = {"adaptive_sigma_stride_steps": None}
        return open_bias(tmp_path, opes=opes, variables=variables, walkers=walkers, colvar_file=None)

    one, two = walker(0), walker(1)
    walks = trajectory(90, seed=1), trajectory(90, seed=2)
    for a, b in zip(*walks, strict=True):
        one.advance(a)
        two.advance(b)
    one.advance([0, 0])  # reads the last kernel of two
    opes = [bias.total.growing for bias in (one, two)]
    assert opes[0].counter == opes[1].counter == 1 + 2 * 29
    assert opes[0].sum_weights == pytest.approx(opes[1].sum_weights, rel=1e-12)
    at = np.array([one.compute(s)[0] for s in walks[0]])
    np.testing.assert_allclose(at, [two.compute(s)[0] for s in walks[0]], atol=0.02)
    assert at.max() - at.min() > 0.1
    for bias in (one, two):
        bias.close()
    assert {f.name for f in tmp_path.iterdir()} >= {"STATE.0", "STATE.1", "BIAS.clock.0", "BIAS.clock.1", "shared"}
    again = [walker(0), walker(1)]
    found = [[bias.compute(s)[0] for s in walks[0]] for bias in again]
    np.testing.assert_allclose(found[0], found[1], atol=1e-12)  # both merge all kernels by time
    np.testing.assert_allclose(found[0], at, atol=0.02)
    alone = again[0].total.growing
    densities = read_densities([tmp_path / "shared" / f"KERNELS.{k}" for k in (0, 1)])
    np.testing.assert_array_equal(densities.sums[-1].heights, alone.density.kernels()[0])

"""Numbers in the pages of barium titanate are those of the result files beside them."""

import json
import re
from pathlib import Path

import ase.io
import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / "workflows" / "batio3"
NUMBER = r"-?\d+(?:\.\d+)?"


def numbers(line):
    """The numbers of a line as they are printed."""
    return re.findall(NUMBER, line.replace("+-", " ").replace("±", " "))


def equals(printed, value):
    """To the last printed digit; the results are rounded themselves."""
    digits = len(printed.partition(".")[2])
    return abs(float(printed) - value) <= 0.51 * 10**-digits


def line_with(page, values):
    """A line whose numbers are these and no others."""
    for line in page.splitlines():
        found = numbers(line)
        if len(found) == len(values) and all(map(equals, found, values)):
            return line
    raise AssertionError(f"no line of the page has the numbers {values}")


def page_and_results(name):
    return (FOLDER / name / "README.md").read_text(), json.loads(
        (FOLDER / name / "results" / f"{name}.json").read_text()
    )


def test_contracted():
    """Errors of both models, and how much faster the contracted one is."""
    page = (FOLDER / "potential" / "README.md").read_text()
    found = json.loads((FOLDER / "potential" / "results" / "contracted.json").read_text())
    for name, file, features in (("batio3", "fit", 300), ("contracted", "contracted", 140)):
        (row,) = (line for line in page.splitlines() if line.startswith(f"| `{file}.toml`"))
        printed = numbers(row.partition("toml` ")[2])
        assert printed[0] == str(features)
        assert all(map(equals, printed[1:4], found["test"][name].values()))
        assert name == "batio3" or equals(printed[-1], found["microseconds_per_atom"]["ratio"])
    assert found["same_bits"]


def test_cluster_expansion():
    """Test errors and coverage of what the defaults make of barium titanate."""
    page, results = (FOLDER / "potential" / "README.md").read_text(), FOLDER / "potential" / "results" / "ace"
    errors = json.loads((results / "errors.json").read_text())["test"]["(all)"]
    coverage = json.loads((results / "uncertainty.json").read_text())
    (row,) = (line for line in page.splitlines() if line.startswith("| `ace.toml`"))
    expected = [*errors.values(), *(100 * coverage["test"][f"within_{k}_sigma"] for k in (1, 2))]
    assert all(map(equals, numbers(row)[:5], expected))
    left_out = [coverage["left_out"][f"within_{k}_sigma"] for k in (1, 2)]
    assert "{:.0f} and {:.0f} % are".format(*(100 * share for share in left_out)) in page


def test_learn():
    """Errors of what was learned on the fly, and of random frames."""
    folder = FOLDER.parent / "learn"
    page, found = (folder / "README.md").read_text(), json.loads((folder / "results.json").read_text())
    references, errors = zip(*found["learned"], strict=True)
    assert line_with(page, [20, *references]).startswith("| calculations")
    assert line_with(page, errors).startswith("| `forceserver learn`")
    assert line_with(page, [20, *map(int, found["random"])]).startswith("| random frames")
    for draw, name in enumerate(("first", "second")):
        assert line_with(page, [values[draw] for values in found["random"].values()]).startswith(f"| {name} draw")


def test_learning_rare_kinds():
    """Errors of the worst kind and of all kinds: of each seed of the loops, and means of random frames."""
    folder = FOLDER.parent / "learn"
    page, found = (folder / "README.md").read_text(), json.loads((folder / "rare.json").read_text())
    measures = (lambda kinds: max(kinds.values()), lambda kinds: np.mean(list(kinds.values())))
    for name, row in (("rare", "`learn`"), ("rare_undirected", "the same loop at random")):
        for seed, run in enumerate(found[name]):
            counts, errors = zip(*run[1:], strict=True)
            printed = [seed, *counts, *(measure(kinds) for measure in measures for kinds in errors)]
            assert line_with(page, printed).startswith(f"| {row}, seed {seed}")
    means = [np.mean([measure(kinds) for kinds in each]) for measure in measures for each in found["random"].values()]
    assert line_with(page, [*map(int, found["random"]), *means]).startswith("| random frames")


@pytest.mark.parametrize("name", ["gap_fit", "silicon", "two_scales", "contracted"])
def test_silicon(name):
    page = (FOLDER.parents[1] / "docs" / "potentials.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith(f"| `{name}.toml`"))
    energies, forces, (time,) = (numbers(cell) for cell in row.strip("| ").split(" | ")[-3:])
    found = json.loads((FOLDER.parent / "silicon" / "errors.json").read_text())
    assert any(equals(printed, found[name]["energy per atom (meV)"]) for printed in energies)
    assert any(equals(printed, 1e-3 * found[name]["force component (meV/Å)"]) for printed in forces)
    assert equals(time, found["microseconds per atom"][name])


def test_the_expansion_of_silicon():
    """The row of its page, and the sentence of the workflow."""
    errors = json.loads((FOLDER.parent / "silicon" / "errors.json").read_text())["ace"]
    found = [errors["energy per atom (meV)"], 1e-3 * errors["force component (meV/Å)"]]
    page = (FOLDER.parents[1] / "docs" / "ace.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| silicon, `ace.toml`"))
    assert all(map(equals, [numbers(cell)[0] for cell in row.strip("| ").split(" | ")[3:5]], found))
    readme = (FOLDER.parent / "silicon" / "README.md").read_text()
    (line,) = (line for line in readme.splitlines() if line.startswith("| `ace.toml`"))
    assert all(any(equals(printed, value) for printed in numbers(line)) for value in found)


def test_path_integral():
    page, results = page_and_results("path_integral")
    for beads, row in results["beads"].items():
        line_with(
            page,
            [float(beads), row["ps"], *row["norm"], row["most likely"], *row["kinetic"], row["disagreement"]],
        )


def test_opes():
    """Of the classical simulation: agrees with four without bias, 0.0946 +- 0.0005 Angstrom."""
    found = json.loads((FOLDER / "path_integral" / "results" / "path_integral_opes.json").read_text())["beads"]["1"]
    page = (FOLDER / "path_integral" / "README.md").read_text()
    (row,) = (line for line in page.splitlines() if line.startswith("| OPES on "))
    length, (mean, error) = (numbers(cell) for cell in row.strip("| ").split(" | ")[1:])
    assert all(map(equals, [*length, mean, error], [found["ps"], *found["norm"]]))
    assert abs(found["norm"][0] - 0.0946) < 2 * np.hypot(found["norm"][1], 0.0005)


def test_replica_exchange():
    page, results = page_and_results("replica_exchange")
    for kelvin, row in results["at"].items():
        line_with(page, [float(kelvin), *row["norm"], *row["binder"], row["replicas"], row["octants"]])
    line_with(page, [results["round trips"]])


def test_walkers():
    page, results = page_and_results("walkers")
    line_with(page, [results["walkers"], results["ps of each"], results["hills"]])
    free_energy = np.array([np.inf if f is None else f for f in results["free_energy"]])
    line_with(page, [results["s"][free_energy.argmin()], results["disagreement"], 1])
    line_with(page, [0.125, *results["octants"][0]])
    line_with(page, [np.std(part) for part in (results["octants"][0], *results["octants of walkers"])])


def test_npt():
    page, results = page_and_results("npt")
    for start in ("from_R", "from_T"):
        for kelvin, row in results[start]["at"].items():
            shares = [row["populations"][phase][0] for phase in "ROTC"]
            norms, cell = row["norm"][1:], [*row["lengths"], *row["angles"]]
            line_with(page, [float(kelvin), *shares, *norms, *row["components"], *cell])
    found, shares = results["transitions"], results["transitions by shares"]
    for name in ("R-O", "O-T", "T-C"):
        values = [number for part in ("both", "from_R", "from_T") for number in found[part][name]]
        line = next(line for line in page.splitlines() if line.startswith(f"{name} "))
        assert all(map(equals, numbers(line)[:7], [*values, shares[name]])), line


def test_finite_size():
    page, results = page_and_results("finite_size")
    for size in "234":
        for kelvin, row in results[size]["at"].items():
            line_with(page, [float(size), float(kelvin), *row["norm"], *row["binder"]])
    for pair, kelvins in results["crossings"].items():
        line_with(page, [*map(float, pair.split(" and ")), *kelvins])


def test_demo():
    page = (FOLDER / "demo" / "README.md").read_text()
    for phase in json.loads((FOLDER / "demo" / "result.json").read_text()):
        line_with(page, [phase["minimum_angstrom"], 0.04, phase["centre_meV"], phase["centre_error_meV"]])
        line_with(page, [phase["halves"]["rms_difference_meV"], phase["halves"]["expected_error_meV"]])
        if phase["ordered"]:
            first, *others = sorted(phase["directions"], key=lambda found: found["free_energy_meV"])
            values = [111, first["length_angstrom"]]
            for found in others:
                values += [float(found["direction"][1:-1]), found["free_energy_meV"], found["error_meV"]]
            line_with(page, values)


@pytest.fixture(scope="module")
def potential():
    """The page of the model, and its validation."""
    folder = FOLDER / "potential"
    return (folder / "README.md").read_text(), json.loads((folder / "results" / "validation.json").read_text())


def test_errors(potential):
    page, results = potential
    structures = ase.io.read(FOLDER / "data" / "test.extxyz", ":")
    kinds = [atoms.info["config_type"] for atoms in structures]
    table = page.partition("## Errors")[2].partition("\n\nForce components")[0]
    rows = [line.strip("|").split("|") for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) == 5
    for name, *cells in rows:
        kind = name.replace("`", "").split(":")[0].strip()
        energy, force, stress = results["errors"]["test"]["(all)" if kind == "all" else kind].values()
        count = len(kinds) if kind == "all" else kinds.count(kind)
        values = [count, energy, force / 1e3, stress]
        assert all(equals(cell.strip(), value) for cell, value in zip(cells, values, strict=True)), (name, values)


def test_wells_and_phases(potential):
    page, results = potential
    for name, well in results["wells"].items():
        off = 100 * abs(1 - well["depth"] / well["reference_depth"])
        values = [float(name), *(well[key] for key in ("depth", "amplitude", "reference_depth", "reference_amplitude"))]
        line_with(page, [*values, off])
    for name, phase in results["phases"].items():
        line = next(line for line in page.splitlines() if line.startswith(f"| {name} | a"))
        _, cell, volume, below, reference, left = (part.strip() for part in line.strip("|").split("|"))
        sides, angle = sorted(set(np.round(phase["lengths"], 3))), min(phase["angles"])
        printed = [number for number in numbers(cell.partition("(")[0]) if float(number) < 80]
        assert sorted(map(float, printed)) == sides
        assert angle == 90 or equals(numbers(cell)[-1], angle)
        assert equals(volume, phase["volume"])
        assert equals(below, phase["below_cubic"])
        assert equals(reference, phase["below_cubic_pbesol"])
        assert all(map(equals, numbers(left), (phase["largest_force_pbesol"], phase["largest_stress_pbesol"])))


def test_phonons(potential):
    page, results = potential
    gamma, x, m, r = (results["phonons"]["cubic"][point] for point in "GXMR")
    text = " ".join(page.split())
    said = re.search(r"unstable at Γ \((\d+)i 1/cm, threefold\), X \((\d+)i, twofold\) and M \((\d+)i\)", text)
    assert all(map(equals, said.groups(), (-min(gamma), -min(x), -min(m))))
    assert (sum(k < -1 for k in gamma), sum(k < -1 for k in x), sum(k < -1 for k in m)) == (3, 2, 1)
    assert min(r) > 0
    optical = re.search(r"the lowest optical one at Γ (\d+) 1/cm", text)
    assert equals(optical[1], min(k for k in results["phonons"]["rhombohedral_gamma"] if k > 1))
    assert results["phonons"]["rhombohedral_lowest"] > 0


def test_the_page_of_potentials(potential):
    """What it says of the model."""
    page = " ".join((FOLDER.parents[1] / "docs" / "potentials.md").read_text().split())
    _, results = potential
    said = re.search(
        rf"from (\d+) small PBEsol cells: ({NUMBER}) meV/atom and ({NUMBER}) eV/Å on (\d+) test structures, double "
        r"wells within (\d+) % of the reference",
        page,
    )
    energy, force, _ = results["errors"]["test"]["(all)"].values()
    counts = [len(ase.io.read(FOLDER / "data" / f"{name}.extxyz", ":")) for name in ("train", "test")]
    worst = max(100 * abs(1 - well["depth"] / well["reference_depth"]) for well in results["wells"].values())
    assert all(map(equals, said.groups(), (counts[0], energy, force / 1e3, counts[1], worst)))


def test_results_are_of_the_shipped_model(potential):
    _, results = potential
    for name in ("path_integral", "replica_exchange", "walkers", "npt", "finite_size"):
        models = page_and_results(name)[1]["model"]
        for model in models.values() if isinstance(models, dict) else [models]:
            assert results["model_sha256"].startswith(model), name


def test_copper():
    """The tables of the workflow and of the page on expansions have the errors of every fit."""
    page = (FOLDER.parent / "copper" / "README.md").read_text()
    rows = [numbers(line) for line in (FOLDER.parents[1] / "docs" / "ace.md").read_text().splitlines()]
    for name, found in json.loads((FOLDER.parent / "copper" / "errors.json").read_text()).items():
        energy, force = found["energy per atom (meV)"], 1e-3 * found["force component (meV/Å)"]
        own = [numbers(line)[-2:] for line in page.splitlines() if line.startswith(f"| `{name}.toml` | ")]
        assert any(all(map(equals, printed, [energy, force])) for printed in own if len(printed) == 2), name
        assert any(f"{energy:.2f}" in row and f"{force:.4f}" in row for row in rows), name


def test_large_cells():
    """Every row of the table, and the times for an atom of both kinds of cores, of which one is twice as fast."""
    page, results = page_and_results("large_cells")
    for name, row in results.items():
        size, kelvin = map(int, name.split("_"))
        values = [size, kelvin, row["ps"], *row["norm"], *row["sorted"], *row["binder"], *row["shares"]]
        line_with(page, [*values, 1e3 * row["cpu_seconds_per_step"]])
    costs = [1e6 * row["cpu_seconds_per_step"] / (5 * int(name[0]) ** 3) for name, row in results.items()]
    slow, fast = [cost for cost in costs if cost > 30], [cost for cost in costs if cost < 25]
    assert len(slow) + len(fast) == len(results)
    for times in (slow, fast):
        assert f"{min(times):.0f} to {max(times):.0f} µs" in page


def test_molecules():
    folder = FOLDER.parent / "molecules"
    page = (folder / "README.md").read_text()
    for errors in json.loads((folder / "results" / "learning_curves.json").read_text()).values():
        assert line_with_cells(page, list(errors.values()))


def line_with_cells(page, values):
    """A row of a table that ends with these numbers."""
    rows = [line.strip("| ").split(" | ")[-len(values) :] for line in page.splitlines() if line.startswith("| ")]
    numeric = [row for row in rows if all(re.fullmatch(NUMBER, cell) for cell in row)]
    return any(all(map(equals, row, values)) for row in numeric)

"""The barium titanate demo: steps a second, and where the time of a step goes.

The inputs are those of `forceserver demo batio3` (50 K, metadynamics, unix sockets, one thread for the driver), for
2x2x2 cells (40 atoms) and repeated to 4x4x4 (320 atoms). A step is timed by i-PI itself (`t/step` in its log, the
median over blocks of 100 steps, in brackets the best); force and bias are timed by calling what the driver calls, in
rounds before and after (best). What is left of the best step is i-PI, its outputs and the sockets. The last table is a
path integral of 8 beads without bias, the driver with two threads; throughput in beads a second, from the best blocks.
"""

import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from forceserver import _ext
from forceserver.bias.choice import build_bias
from forceserver.cv import build_variables
from forceserver.potentials import build_potential
from forceserver.settings import load
from forceserver.template import read_template

from .harness import Table, interleave

STUDY = Path(__file__).parents[1] / "workflows" / "batio3"
ENGINE = re.compile(r"^order = .*$", re.MULTILINE)
PER_STEP = re.compile(r"t/step:\s+([\d.e+-]+)")


def case(folder: Path, repeat: int, steps: int, beads: int = 1, batch: int = 1) -> Path:
    """The demo's inputs, changed; the configuration."""
    import ase.io

    shutil.copytree(STUDY / "demo" / "cold", folder / "demo" / "cold")
    (folder / "potential").mkdir()
    shutil.copy(STUDY / "potential" / "batio3.npz", folder / "potential")
    place = folder / "demo" / "cold"
    atoms = ase.io.read(place / "start.extxyz") * ([repeat] * 3)
    atoms.rattle(0.03, seed=1)
    ase.io.write(place / "start.extxyz", atoms, columns=["symbols", "positions"])
    config, xml = (place / "forceserver.toml"), (place / "input.xml")
    text = ENGINE.sub('order = ["metadynamics"]', config.read_text())
    content = re.sub("<total_steps>.*?<", f"<total_steps>{steps}<", xml.read_text()).replace("'low'", "'medium'")
    if beads > 1:
        text = re.sub(r"\[bias_socket\].*?(?=\[simulation\])", "", text, flags=re.DOTALL)
        text = text[: text.index("# Well-tempered")]
        content = re.sub(r"\s*<ffsocket name='bias'.*?</ffsocket>", "", content)
        content = re.sub(r"\s*<bias>.*?</bias>", "", content)
        content = content.replace("ensemble_bias{electronvolt},", "").replace("nbeads='1'", f"nbeads='{beads}'")
        content = content.replace("mode='langevin'", "mode='pile_g'")
        content = content.replace("</address><latency>", f"</address><batch_size>{batch}</batch_size><latency>")
    config.write_text(text)
    xml.write_text(content)
    return config


def seconds_per_step(config: Path, threads: int) -> list[float]:
    """Of a simulation that is run to its end, by blocks; without the first ones, in which everything starts."""
    command = [sys.executable, "-m", "forceserver", "launch", str(config), "--threads", str(threads)]
    done = subprocess.run(command, env={**os.environ, "OMP_WAIT_POLICY": "passive"}, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"benchmarks: the simulation failed: {done.stderr}")
    times = [float(number) for number in PER_STEP.findall((config.parent / "ipi.log").read_text())]
    return times[2:]


def parts(config: Path, folder: Path) -> dict[str, float]:
    """Seconds of force and bias for configurations that move a little every time."""
    here, threads = Path.cwd(), _ext.cpu.max_threads()
    os.chdir(folder)  # the bias writes into it
    _ext.cpu.set_threads(1)
    try:
        settings = load(config)
        template = read_template(settings.structure)
        potential = build_potential(settings.potential, template)
        bias = build_bias(settings.bias, build_variables(settings.cv, template), template)
        dice = np.random.default_rng(1)

        def moved():
            return replace(template, positions=template.positions + dice.normal(scale=0.002, size=(len(template), 3)))

        timings = interleave(
            {"force": lambda: potential.compute([moved()]), "bias": lambda: bias.compute([moved()])}, rounds=9
        )
        bias.close()
    finally:
        os.chdir(here)
        _ext.cpu.set_threads(threads)
    return {name: timing.best for name, timing in timings.items()}


def step_table(quick: bool) -> Table:
    """Steps a second and shares, by size."""
    table = Table(
        "One simulation, one driver thread: where a step goes",
        ["cells", "steps/s", "step, ms", "force, ms", "bias and variable, ms", "i-PI and sockets, ms", "all but force"],
    )
    for repeat, steps in ((1, 800 if quick else 4000), (2, 400 if quick else 1200)):
        with tempfile.TemporaryDirectory(prefix="fsbench-") as folder:
            place = Path(folder)
            config = case(place / "run", repeat, steps)
            other = case(place / "parts", repeat, steps)
            before = parts(other, other.parent)
            steps_taken = seconds_per_step(config, threads=1)
            after = parts(other, other.parent)
        force, bias = (min(before[name], after[name]) for name in ("force", "bias"))
        median, best = statistics.median(steps_taken), min(steps_taken)
        table.rows.append(
            (
                f"{2 * repeat}x{2 * repeat}x{2 * repeat} ({40 * repeat**3} atoms)",
                f"{1 / median:.0f} ({1 / best:.0f})",
                f"{1e3 * median:.2f} ({1e3 * best:.2f})",
                1e3 * force,
                1e3 * bias,
                1e3 * (best - force - bias),
                f"{100 * (1 - force / best):.0f} %",
            )
        )
    return table


def bead_table(quick: bool) -> Table:
    """Beads one by one and as one batch."""
    table = Table("8 beads, 2x2x2, driver with two threads", ["requests", "step, ms", "beads/s", "x one by one"])
    rounds, steps = (1, 600) if quick else (3, 1000)
    times = {1: [], 8: []}
    for _ in range(rounds):
        for batch, found in times.items():
            with tempfile.TemporaryDirectory(prefix="fsbench-") as folder:
                found += seconds_per_step(case(Path(folder), 1, steps, beads=8, batch=batch), threads=2)
    single = min(times[1])
    for batch, name in ((1, "one by one"), (8, "one batch of 8")):
        step = min(times[batch])
        table.rows.append((name, 1e3 * step, 8 / step, single / step))
    return table


def tables(quick: bool) -> Iterator[Table]:
    """All tables."""
    yield step_table(quick)
    yield bead_table(quick)

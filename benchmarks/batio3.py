"""The barium titanate demo: steps a second, and where the time of a step goes.

The inputs are those of `forceserver demo batio3` (50 K, metadynamics, unix sockets, one thread for the driver), for
2x2x2 cells (40 atoms) and repeated to 4x4x4 (320 atoms). A step is timed by i-PI itself (`t/step` in its log), force
and bias by the driver in the same run; times are medians over blocks of 100 steps, in brackets the best. The rest of a
step is i-PI, its outputs and the sockets. Its lower limits are steps of the same input by i-PI alone, with `<ffdirect>`
and its potential of zeros in place of both sockets, and by i-PI with its own Python driver and the same zeros at both
sockets. In the second table, i-PI itself calls our bias, or force and bias, in the same simulation (`<ffdirect>` with
`forceserver ipi-pes`). The last table is for a path integral of 8 beads without bias on two cores, with one driver with
two threads or two drivers with one thread each; throughput in beads per second, from the best blocks.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from forceserver.ipi import pes
from forceserver.ipi.program import ipi_script

from .harness import Table

STUDY = Path(__file__).parents[1] / "workflows" / "batio3"
TIMED_DRIVE = Path(__file__).parent / "clients" / "timed_drive.py"
BLOCK = 100
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


def i_pi_alone(config: Path) -> list[list[str]]:
    """Zeros inside i-PI in place of the sockets; no drivers."""
    xml = config.parent / "input.xml"
    content = re.sub(
        r"<ffsocket name='(\w+)'.*?</ffsocket>",
        r"<ffdirect name='\1' pbc='False'><pes>dummy</pes></ffdirect>",
        xml.read_text(),
    )
    xml.write_text(content)
    return []


def its_own_drivers(config: Path) -> list[list[str]]:
    """i-PI's Python driver with zeros, one for every socket."""
    program = [sys.executable, str(ipi_script().with_name("i-pi-driver-py"))]
    return [[*program, "-u", "-a", address, "-S", "./", "-m", "dummy"] for address in ("force", "bias")]


def our_driver(config: Path, number: int = 1) -> list[list[str]]:
    """`number` of ours, each in all roles that are configured."""
    return [[sys.executable, str(TIMED_DRIVE), config.name]] * number


def bias_inside(config: Path) -> list[list[str]]:
    """i-PI calls the bias, a driver has the force."""
    call_inside(config, "bias")
    return our_driver(config)


def all_inside(config: Path) -> list[list[str]]:
    """i-PI calls force and bias; no drivers."""
    for role in ("force", "bias"):
        call_inside(config, role)
    return []


def call_inside(config: Path, role: str) -> None:
    """Takes the socket of a role out of i-PI's input and our configuration, and lets i-PI call instead."""
    xml, section = config.parent / "input.xml", {"force": "socket", "bias": "bias_socket"}[role]
    direct = (
        f"<ffdirect name='{role}' pbc='False'><pes>custom</pes><pes_path>{pes.__file__}</pes_path>"
        f"<parameters>{{config: {config.name}, role: {role}}}</parameters></ffdirect>"
    )
    xml.write_text(re.sub(rf"<ffsocket name='{role}'.*?</ffsocket>", direct, xml.read_text()))
    config.write_text(re.sub(rf"\[{section}\].*?\n\n", "", config.read_text(), flags=re.DOTALL))


def run(config: Path, drivers: list[list[str]], threads: int) -> dict[str, list[float]]:
    """Seconds of a step and behind each role by blocks, without the first two, in which everything starts."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive", "OMP_NUM_THREADS": str(threads)}
    place, log = config.parent, config.parent / "ipi.log"
    sockets = (place / "input.xml").read_text().count("<ffsocket")
    with open(log, "w") as file:
        command = [sys.executable, "-u", str(ipi_script()), "input.xml"]
        ipi = subprocess.Popen(command, cwd=place, env=environment, stdout=file, stderr=file)
        while ipi.poll() is None and log.read_text().count("Starting the polling thread") < sockets:
            time.sleep(0.1)
        clients = [
            subprocess.Popen(driver, cwd=place, env=environment, stdout=subprocess.PIPE, text=True)
            for driver in drivers
        ]
        said = [client.communicate()[0].strip() for client in clients]
        ipi.wait()
    blocks = {"step": [float(number) for number in PER_STEP.findall(log.read_text())][1:]}
    if ipi.returncode or not blocks["step"]:
        raise SystemExit(f"benchmarks: the simulation failed: {log.read_text()[-2000:]}")
    for text in said:
        for role, calls in json.loads(text if text.startswith("{") else "{}").items():
            blocks[role] = [statistics.mean(calls[i : i + BLOCK]) for i in range(0, len(calls) - BLOCK, BLOCK)]
    return {name: times[2:] for name, times in blocks.items()}


def step_tables(quick: bool) -> Iterator[Table]:
    """Steps a second and shares, by size; then with less between i-PI and us."""
    columns = ["cells", "steps/s", "step, ms", "force, ms", "bias and variable, ms", "i-PI and sockets, ms"]
    columns += ["i-PI, its own driver, zeros, ms", "i-PI alone, zeros, ms", "all but force"]
    shares = Table("One simulation, one driver thread: where a step goes", columns)
    inside = Table(
        "The same, step in ms (all but force)",
        ["cells", "two sockets", "bias inside i-PI", "force and bias inside i-PI"],
    )
    for repeat, steps in ((1, 800 if quick else 3000), (2, 500 if quick else 1200)):
        runs = {our_driver: {}, bias_inside: {}, all_inside: {}, its_own_drivers: {}, i_pi_alone: {}}
        for _ in range(1 if quick else 3):
            for contender, blocks in runs.items():
                with tempfile.TemporaryDirectory(prefix="fsbench-") as folder:
                    config = case(Path(folder) / "run", repeat, steps)
                    for name, times in run(config, contender(config), threads=1).items():
                        blocks.setdefault(name, []).extend(times)
        ours = {name: (statistics.median(times), min(times)) for name, times in runs[our_driver].items()}
        (step, best), force, bias = ours["step"], ours["force"], ours["bias"]
        rest = step - force[0] - bias[0]
        limits = [runs[contender]["step"] for contender in (its_own_drivers, i_pi_alone)]
        cells = f"{2 * repeat}x{2 * repeat}x{2 * repeat} ({40 * repeat**3} atoms)"
        shares.rows.append(
            (
                cells,
                f"{1 / step:.0f} ({1 / best:.0f})",
                *(f"{1e3 * median:.2f} ({1e3 * least:.2f})" for median, least in ((step, best), force, bias)),
                1e3 * rest,
                *(f"{1e3 * statistics.median(times):.2f} ({1e3 * min(times):.2f})" for times in limits),
                f"{100 * (1 - force[0] / step):.0f} %",
            )
        )
        ways = [statistics.median(runs[contender]["step"]) for contender in (our_driver, bias_inside, all_inside)]
        inside.rows.append((cells, *(f"{1e3 * way:.2f} ({100 * (1 - force[0] / way):.0f} %)" for way in ways)))
    yield shares
    yield inside


def bead_table(quick: bool) -> Table:
    """Beads one by one and in batches."""
    table = Table("8 beads, 2x2x2, two cores", ["requests", "step, ms", "beads/s", "x one by one"])
    rounds, steps = (1, 600) if quick else (3, 1000)
    contenders = {  # size of batches, drivers, threads of each
        "one by one, one driver with two threads": (1, 1, 2),
        "one batch of 8, one driver with two threads": (8, 1, 2),
        "one by one, two drivers": (1, 2, 1),
        "two batches of 4, two drivers": (4, 2, 1),
        "i-PI alone, zeros": (1, 0, 1),
    }
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds):
        for name, (batch, drivers, threads) in contenders.items():
            with tempfile.TemporaryDirectory(prefix="fsbench-") as folder:
                config = case(Path(folder) / "run", 1, steps, beads=8, batch=batch)
                commands = our_driver(config, drivers) if drivers else i_pi_alone(config)
                times[name] += run(config, commands, threads)["step"]
    single = min(next(iter(times.values())))
    for name, found in times.items():
        step = min(found)
        table.rows.append((name, 1e3 * step, 8 / step, single / step))
    return table


def tables(quick: bool) -> Iterator[Table]:
    """All tables."""
    yield from step_tables(quick)
    yield bead_table(quick)

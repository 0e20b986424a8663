"""What a page takes for granted: the files that its reader has."""

import functools
import re
import shutil
import sys
import tempfile
from pathlib import Path

import ase.io
import numpy as np
from ase.build import bulk, molecule
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from blocks import ROOT, blocks, joined

sys.path.append(str(ROOT / "tests" / "free_energy"))
from langevin import double_well_slope, sample, slope_2d

CONFIG = """
[structure]
file = "start.extxyz"

[potential]
kind = "ase"
calculator = "ase.calculators.emt.EMT"

[socket]
mode = "unix"
address = "al"
prefix = "./"

[simulation]
input = "input.xml"
"""
INPUT = """
<simulation verbosity='low' threading='False' sockets_prefix='./'>
  <output prefix='out'><properties stride='1' filename='properties'> [ step, conserved ] </properties></output>
  <total_steps>5</total_steps>
  <prng><seed>31415</seed></prng>
  <ffsocket name='al' mode='unix'><address>al</address><latency>0</latency></ffsocket>
  <system>
    <initialize nbeads='8'>
      <file mode='ase'> start.extxyz </file>
      <velocities mode='thermal' units='kelvin'> 300 </velocities>
    </initialize>
    <forces><force forcefield='al'/></forces>
    <ensemble><temperature units='kelvin'> 300 </temperature></ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'><timestep units='femtosecond'> 1 </timestep></dynamics>
    </motion>
  </system>
</simulation>
"""


def aluminium(folder: Path) -> None:
    """A simulation of eight beads with a potential of ASE."""
    bulk("Al", cubic=True).write(folder / "start.extxyz")
    (folder / "forceserver.toml").write_text(CONFIG)
    (folder / "input.xml").write_text(INPUT)


def crystal(folder: Path) -> None:
    bulk("Cu", cubic=True).write(folder / "start.cif")


def copper(folder: Path) -> None:
    """Copper, and some structures of two phases."""
    bulk("Cu", cubic=True).repeat(2).write(folder / "copper.extxyz")
    frames = []
    for seed in range(3):
        for phase, a in (("fcc", 3.6), ("bcc", 2.87)):
            atoms = bulk("Cu", phase, a=a, cubic=True).repeat(2)
            atoms.rattle(0.1, seed=seed)
            atoms.info["phase"] = phase
            frames.append(atoms)
    ase.io.write(folder / "phases.extxyz", frames)


def polarised(folder: Path) -> None:
    """Barium titanate with its potential, for i-PI, too."""
    atoms = ase.io.read(ROOT / "workflows" / "batio3" / "demo" / "cold" / "start.extxyz")
    atoms.write(folder / "batio3.extxyz")
    a, b, c = atoms.cell.lengths()
    lines = [f"{symbol} {x} {y} {z}" for symbol, (x, y, z) in zip(atoms.symbols, atoms.positions, strict=True)]
    comment = f"# CELL(abcABC): {a} {b} {c} 90 90 90 cell{{angstrom}} Traj: positions{{angstrom}}"
    (folder / "ipi.xyz").write_text("\n".join([str(len(atoms)), comment, *lines]) + "\n")
    (folder / "forceserver.toml").write_text(
        '[structure]\nfile = "batio3.extxyz"\n'
        f'[potential]\nkind = "gap"\nmodel = "{ROOT}/workflows/batio3/potential/batio3.npz"\n'
        '[socket]\nprefix = "./"\naddress = "force"\n'
    )


def in_lammps(folder: Path) -> None:
    """Barium titanate with its potential, for LAMMPS."""
    atoms = ase.io.read(ROOT / "workflows" / "batio3" / "demo" / "cold" / "start.extxyz")
    atoms.write(folder / "batio3.data", format="lammps-data", specorder=["Ba", "Ti", "O"], masses=True)
    shutil.copy(ROOT / "workflows" / "batio3" / "potential" / "batio3.npz", folder)


def biased(folder: Path) -> None:
    """What docs/plumed.md has shown, and the files of a run."""
    polarised(folder)
    variable = next(block for block in blocks(ROOT / "docs" / "plumed.md") if block.language == "toml")
    config = folder / "forceserver.toml"
    config.write_text(joined(config.read_text(), variable.text))
    hills(folder)


def labelled(folder: Path) -> None:
    """Structures with energies and forces."""
    aluminium(folder)
    frames = []
    for seed in range(4):
        atoms = bulk("Al", cubic=True)
        atoms.rattle(0.1, seed=seed)
        atoms.calc = EMT()
        atoms.calc = SinglePointCalculator(atoms, energy=atoms.get_potential_energy(), forces=atoms.get_forces())
        frames.append(atoms)
    ase.io.write(folder / "structures.extxyz", frames)


def for_scripts(folder: Path) -> None:
    """Labelled silicon, a simulation for soft spheres, and barium titanate."""
    silicon(folder, 8)
    polarised(folder)
    bulk("Si", cubic=True).write(folder / "start.extxyz")
    (folder / "input.xml").write_text(INPUT.replace("'al'", "'spheres'").replace(">al<", ">spheres<"))


def titanate(folder: Path) -> None:
    data = ROOT / "workflows" / "batio3" / "data" / "test.extxyz"
    ase.io.write(folder / "in.extxyz", ase.io.read(data, ":2"))


def molecules(folder: Path) -> None:
    """Distorted molecules of H, C and O."""
    frames = [molecule(name) for name in ("H2O", "CH3OH", "C2H6", "CH4", "H2CO", "CH3CHO") for _ in range(3)]
    for seed, atoms in enumerate(frames):
        atoms.rattle(0.1, seed=seed)
    ase.io.write(folder / "in.extxyz", frames)


def hills(folder: Path) -> None:
    """Two walkers of a metadynamics in a double well, and an OPES."""
    axis = {"name": "x", "sigma": 0.2, "lower": -3, "upper": 3}
    for walker in range(2):
        place = folder / str(walker)
        place.mkdir()
        sample(place, [axis], double_well_slope, 8_000, seed=walker, height_eV=0.02, pace_steps=50, bias_factor=8)
        shutil.copy(place / "HILLS", folder / f"HILLS.{walker}")
    shutil.copy(folder / "HILLS.0", folder / "HILLS")
    shutil.copy(folder / "0" / "COLVAR", folder / "COLVAR")
    place = folder / "opes"
    place.mkdir()
    keys = {"engine": "opes", "barrier_eV": 0.2, "pace_steps": 50, "state_file": place / "STATE"}
    sample(place, [{"name": "x"}], double_well_slope, 5_000, **keys)
    shutil.copy(place / "KERNELS", folder / "KERNELS")


def walkers(folder: Path) -> None:
    """Four walkers of three variables."""
    (folder / "hills").mkdir()
    names = [f"polarization_{x}" for x in "xyz"]
    axes = [{"name": name, "sigma": 0.3, "lower": -3, "upper": 3} for name in names]
    slope = lambda s: np.array([*slope_2d(s[:2]), 0.4 * s[2]])  # noqa: E731
    for walker in range(4):
        place = folder / f"{walker}"
        place.mkdir()
        sample(place, axes, slope, 500, seed=walker, height_eV=0.02, pace_steps=50, bias_factor=8)
        shutil.copy(place / "HILLS", folder / "hills" / f"HILLS.{walker}")


def template(*symbols: str):
    """A function that puts a structure of these species into the configuration."""

    def make(folder: Path) -> None:
        atoms = bulk("Si" if symbols == ("Si",) else "Al", cubic=True)
        atoms.symbols[: len(symbols)] = symbols
        if symbols != ("Si",):
            atoms.symbols[len(symbols) :] = symbols[-1]
        atoms.write(folder / "start.extxyz")
        (folder / "forceserver.toml").write_text('[structure]\nfile = "start.extxyz"\n')

    return make


@functools.cache
def silicon_model() -> bytes:
    """A small model file with members, made once."""
    from forceserver.fit.config import FitConfig
    from forceserver.fit.run import fit

    with tempfile.TemporaryDirectory() as folder:
        ase.io.write(Path(folder) / "train.extxyz", ase.io.read(ROOT / "tests" / "data" / "silicon.extxyz", ":8"))
        content = {"output": "si.npz", "data": {"train": "train.extxyz"}, "repulsion": False, "sigma": {"default": {}}}
        basis = {"kind": "gto", "n_max": 4, "l_max": 3, "cutoff": {"cutoff_angstrom": 4.0, "width_angstrom": 0.5}}
        basis["density"] = {"kind": "gaussian", "sigma_angstrom": 0.5}
        content["descriptors"] = [{"kind": "soap", "basis": basis, "n_sparse": 10}]
        fit(FitConfig.model_validate(content, context={"folder": Path(folder)}))
        return (Path(folder) / "si.npz").read_bytes()


def silicon(folder: Path, count: int = 4) -> None:
    """Some structures with DFT energies and forces; models have members if they are eight."""
    frames = ase.io.read(ROOT / "tests" / "data" / "silicon.extxyz", f":{count + 2}")
    ase.io.write(folder / "train.extxyz", frames[:count])
    ase.io.write(folder / "test.extxyz", frames[count:])


def model(folder: Path) -> None:
    (folder / "si.npz").write_bytes(silicon_model())
    template("Si")(folder)


def expansion_model(folder: Path) -> None:
    sys.path.append(str(ROOT / "tests" / "potentials"))
    from ace_models import some_ace

    some_ace((14,), functions=40).save(folder / "ace.npz")
    template("Si")(folder)


def pace_potential(folder: Path) -> None:
    sys.path.append(str(ROOT / "tests" / "potentials"))
    from pace_files import copper, yace

    (folder / "copper.yace").write_text(yace(copper()))
    template("Cu")(folder)


def multispectrum_model(folder: Path) -> None:
    from forceserver.fit.multispectrum_ridge import fit_ridge
    from forceserver.representation.config import ExpansionConfig

    basis = {"kind": "gto", "n_max": 3, "l_max": 1, "cutoff": {"cutoff_angstrom": 3.0, "width_angstrom": 0.5}}
    basis["density"] = {"kind": "gaussian", "sigma_angstrom": 0.5}
    keys = {"basis": basis, "tolerance": 1e-4, "multispectrum": {"nu": 2, "n_components": 6, "num_expand": 20}}
    frames = [molecule(name) for name in ("H2O", "CH3OH", "C2H6", "H2CO")]
    model = fit_ridge(ExpansionConfig.model_validate(keys), frames, [float(len(atoms)) for atoms in frames])
    model.save(folder / "molecules.npz")
    frames[1].write(folder / "start.extxyz")
    (folder / "forceserver.toml").write_text('[structure]\nfile = "start.extxyz"\n')


def quip_potential(folder: Path) -> None:
    data = ROOT / "tests" / "peers" / "data" / "quip"
    for file in data.glob("two_species.xml*"):
        shutil.copy(file, folder)
    shutil.move(folder / "two_species.xml", folder / "gap.xml")
    template("Cu", "Au")(folder)


def metatomic_models(folder: Path) -> None:
    sys.path.append(str(ROOT / "tests" / "potentials"))
    from test_metatomic import export

    template("Al")(folder)
    for name in ("model.pt", "model-1.pt", "model-2.pt"):
        export(folder / name)


def argon(folder: Path) -> None:
    template("Ar", "Ne")(folder)
    np.savetxt(folder / "arne.dat", np.stack([np.linspace(1, 9, 40), np.zeros(40)], axis=1))


def librascal_model(folder: Path) -> None:
    shutil.copy(ROOT / "tests" / "peers" / "data" / "librascal" / "all_features.json", folder / "model.json")


SCENERY = {
    "README.md": crystal,
    "docs/ace.md": silicon,
    "docs/commands/check.md": aluminium,
    "docs/commands/basis.md": titanate,
    "docs/commands/convert.md": librascal_model,
    "docs/commands/compare.md": molecules,
    "docs/commands/cv.md": copper,
    "docs/commands/describe.md": titanate,
    "docs/commands/drive.md": aluminium,
    "docs/commands/evaluate.md": labelled,
    "docs/commands/export.md": model,
    "docs/commands/fes.md": hills,
    "docs/commands/fit.md": silicon,
    "docs/commands/info.md": model,
    "docs/commands/init.md": crystal,
    "docs/commands/launch.md": aluminium,
    "docs/howto/constant_pressure.md": crystal,
    "docs/howto/multiple_time_steps.md": crystal,
    "docs/howto/own_network.md": crystal,
    "docs/howto/path_integrals.md": crystal,
    "docs/howto/replica_exchange.md": crystal,
    "docs/lammps.md": in_lammps,
    "docs/metadynamics.md": biased,
    "docs/plumed.md": polarised,
    "docs/potentials.md": silicon,
    "docs/python.md": for_scripts,
    "docs/variables.md": copper,
    "workflows/batio3/walkers/README.md": walkers,
}


def short(folder: Path) -> None:
    """The input that `init` has written, with fewer steps."""
    text = (folder / "input.xml").read_text()
    (folder / "input.xml").write_text(re.sub(r"<total_steps>\d+</total_steps>", "<total_steps>20</total_steps>", text))


SCENES = {
    "README.md": {"forceserver launch config.toml -n 2": short},
    "docs/howto/own_network.md": {"forceserver launch config.toml": short},
    "docs/plumed.md": {"i-pi input.xml": short},
    "docs/commands/fit.md": {'kind = "gap"': template("Si")},
    "docs/potentials.md": {
        'kind = "metatomic"': metatomic_models,
        'kind = "multispectrum"': multispectrum_model,
        'kind = "lammps"': template("Si"),
        'kind = "pair"\n\n[[potential': argon,
        'kind = "gap"': model,
        'kind = "ace"\nmodel': expansion_model,
        'kind = "pace"\nmodel': pace_potential,
        'kind = "quip"': quip_potential,
        "forceserver convert model.json": librascal_model,
    },
    "docs/ace.md": {'kind = "ace"\nmodel': expansion_model},
}
"""Page -> words of blocks -> what their reader has: each potential is for another structure."""

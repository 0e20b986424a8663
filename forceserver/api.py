"""What the package does, as functions for scripts; each is a thin face of what a command does."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bias.atomic import AtomicBias
from .bias.config import MetadynamicsConfig
from .bias.outputs import places
from .config import Section, validated
from .cv import CollectiveVariable
from .errors import InputError
from .frame import Frame
from .potentials import PotentialConfig, build_potential, conformance
from .potentials.ase import AsePotential
from .potentials.base import Potential

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin

    from .fit.gap import Fit
    from .ipi.driver import Outcome

MODELS = (".npz", ".json")
"""Files that hold a model; any other is a configuration."""


class _PotentialSection(Section):
    potential: PotentialConfig


def load_potential(source: str | Path | Mapping[str, Any], template: "Frame | Atoms | None" = None) -> Potential:
    """A potential from a model file, a configuration, or the keys of a section [potential].

    Args:
        source: path of a model (.npz of `forceserver fit`, .json of librascal), path of a configuration (TOML), or a
            mapping such as `{"kind": "gap", "model": "si.npz", "uncertainty": True}`.
        template: a structure with the species of everything that is to be computed. A configuration names its own;
            a model needs none; a mapping needs one.

    Returns:
        The potential. With a template it has computed it once, so that what is missing is known now.

    Raises:
        InputError: a file is damaged, a key is wrong, or the potential cannot compute the template.
    """
    if isinstance(source, Mapping):
        if template is None:
            raise InputError("load_potential: a mapping needs a template, a structure of the species to be computed")
        section = validated(_PotentialSection, {"potential": source}, "load_potential")
        return build_potential(section.potential, Frame.of(template))
    path = Path(source)
    if path.suffix in MODELS:
        from .potentials.gap import GapPotential

        potential = GapPotential.load(path)
        if template is not None:
            potential.compute_one(Frame.of(template))
        return potential
    from .settings import load
    from .template import read_template

    settings = load(path)
    return build_potential(
        settings.potential, read_template(settings.structure) if template is None else Frame.of(template)
    )


def serve(
    potential: "Potential | GetPropertiesMixin",
    template: "Frame | Atoms",
    address: str = "localhost",
    port: int | None = None,
    *,
    shared_memory: bool = False,
    prefix: str = "/tmp/ipi_",
    **driver: Any,
) -> "Outcome":
    """Serves forces to i-PI, or to any server of its protocol, until it says EXIT.

    Args:
        potential: a `Potential` or an ASE calculator.
        template: a structure with the species and periodicity of the simulation, in the order of the server.
        address: name of the unix socket, or with a `port` the host.
        port: of TCP; None: a unix socket.
        shared_memory: pass the numbers through shared memory (`mode='shm'` of i-PI).
        prefix: what i-PI puts in front of the name of a unix socket.
        driver: keys of the section [driver], such as `connect_deadline_seconds`.

    Returns:
        How serving ended, and how many structures were computed.

    Raises:
        InputError: an argument is wrong.
        NoServer: nobody listens there before the deadline.
        PotentialError: too many evaluations failed in a row.
        ProtocolError: the server sends another number of atoms, or does not speak the protocol.
    """
    from .ipi import driver as ipi_driver
    from .ipi.transports import SocketConfig

    mode = "shm" if shared_memory else "unix" if port is None else "inet"
    where = {"mode": mode, "address": address, "port": port, "prefix": prefix}
    served = potential if isinstance(potential, Potential) else AsePotential(potential)
    return ipi_driver.serve(
        served,
        Frame.of(template),
        validated(SocketConfig, where, "serve"),
        validated(ipi_driver.DriverConfig, driver, "serve"),
    )


def fit_potential(config: str | Path | Mapping[str, Any] | None = None, **keys: Any) -> "Fit":
    """Fits a model and writes it, as `forceserver fit` does.

    Args:
        config: path of the TOML file of a fit, or its content as a mapping; None: the keys say everything.
        keys: keys of the fit, such as `output="si.npz", data={"train": "si.extxyz"}`; they replace those of `config`.

    Returns:
        The model, the structures it was fitted to, and what it says far from them.

    Raises:
        InputError: a key is wrong, or no model can be made from the data.
    """
    from .config import read_toml
    from .fit.config import FitConfig
    from .fit.gap import fit

    if config is None or isinstance(config, Mapping):
        return fit(validated(FitConfig, {**(config or {}), **keys}, "fit_potential", Path.cwd()))
    path = Path(config)
    return fit(validated(FitConfig, read_toml(path) | keys, str(path), path.absolute().parent))


def check_potential(
    potential: "Potential | GetPropertiesMixin", structure: "Frame | Atoms", **options: Any
) -> conformance.Report:
    """Tries on a potential what every potential must satisfy: derivatives, symmetries, batches, noise.

    Args:
        potential: a `Potential` or an ASE calculator.
        structure: where it is tried, a `Frame` or ASE `Atoms`; it is rattled and sheared first.
        options: `tolerance`, `step`, `skip`, `rattle`, `strain`, `seed` of `potentials.conformance.check_potential`.

    Returns:
        A report that prints as a table; `report.raise_on_failure()` raises `PotentialError` with it.
    """
    tried = potential if isinstance(potential, Potential) else AsePotential(potential)
    return conformance.check_potential(tried, Frame.of(structure), **options)


class Metadynamics(AtomicBias):
    """Well-tempered metadynamics on collective variables: a potential that is added to the one of the atoms.

        bias = Metadynamics(
            polarisation,
            {"cv_norm": {"sigma": 0.01, "lower": 0.0, "upper": 0.4}},
            height_eV=0.01, pace_steps=50, temperature_K=300, bias_factor=8, time_step_fs=1, folder="run",
        )
        atoms.calc = SumCalculator([EMT(), ForceServerCalculator(bias)])

    Every configuration that differs from the one before is a step. HILLS, COLVAR and the clock are written to the
    folder, where a new object goes on; call `close`, or use it as a context manager.

    Args:
        variables: one `CollectiveVariable`, or several with different names.
        on: output of a variable, as `name_output` -> keys of its section [[bias.variables]]: `sigma` (in the unit of
            the output), `lower`, `upper`, `domain`, `bins`, `hills`.
        height_eV: of the first hill.
        pace_steps: steps between two hills.
        temperature_K: of the simulation.
        time_step_fs: makes times of steps in the files.
        bias_factor: gamma of the tempering; None: hills keep their height.
        grid: "fixed" (leaving it is an error), "grow" or "none".
        folder: of the files; it is made.
        keys: other keys of the embedded bias, such as `walls=[{...}]`, `restraints=[{...}]`, `colvar_stride_steps`.

    Raises:
        InputError: a key is wrong, an output is not there, or the files in the folder are those of another bias.
    """

    def __init__(
        self,
        variables: CollectiveVariable | Sequence[CollectiveVariable],
        on: Mapping[str, Mapping[str, Any]],
        *,
        height_eV: float,
        pace_steps: int,
        temperature_K: float,
        time_step_fs: float,
        bias_factor: float | None = None,
        grid: str = "grow",
        folder: str | Path = ".",
        **keys: Any,
    ) -> None:
        place = Path(folder).absolute()
        hills = {
            "height_eV": height_eV,
            "pace_steps": pace_steps,
            "temperature_K": temperature_K,
            "bias_factor": bias_factor,
            "grid": grid,
        }
        content = {
            "variables": [{"name": name, **options} for name, options in on.items()],
            "hills": hills,
            "time_step_fs": time_step_fs,
            **keys,
        }
        config = validated(MetadynamicsConfig, content, "Metadynamics", place)
        place.mkdir(parents=True, exist_ok=True)
        config.check_files()
        given = [variables] if isinstance(variables, CollectiveVariable) else list(variables)
        named = {variable.name: variable for variable in given}
        places([variable.name for variable in config.variables], named)
        super().__init__(config.build(), named)

    def __enter__(self) -> "Metadynamics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

"""The package's functions for scripts; each is a thin wrapper around what a command does."""

import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .bias.atomic import AtomicBias
from .bias.config import MetadynamicsConfig
from .bias.journal.disk import make_folder
from .bias.kept_settings import going_on
from .bias.outputs import places
from .cv import Variable
from .errors import InputError, shortened
from .frame import Frame
from .potentials import PotentialConfig, build_potential, conformance, tried
from .potentials.ase import as_potential
from .potentials.base import Potential
from .potentials.conformance_report import Report
from .potentials.model_files import is_model_file
from .potentials.model_files import load_potential as load_model_file
from .sections import Location, Section, argument_of, check_arguments, validated

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.abc import GetPropertiesMixin

    from .fit.run import Fit
    from .ipi.driver import Outcome


class _PotentialSection(Section):
    potential: PotentialConfig


def _inside(place: Location) -> str:
    """Keys of the mapping that load_potential was given, which is made a section `potential` here."""
    return argument_of(place[1:])


def _path(caller: str, given: object) -> Path:
    if not isinstance(given, str | os.PathLike):
        raise InputError(f"{caller}: {shortened(given)} is neither the path of a file nor a mapping")
    return Path(given)


def load_potential(source: str | Path | Mapping[str, Any], template: "Frame | Atoms | None" = None) -> Potential:
    """Loads a potential from a model file, a configuration, or the keys of a section [potential].

    Args:
        source: path of a model (.npz from `forceserver fit`, or of another program), path of a configuration (TOML), or
            a mapping such as `{"kind": "gap", "model": "si.npz", "uncertainty": True}`.
        template: a structure with the species of the structures to be computed. Required for a mapping, optional for
            a model; a configuration names its own.

    Returns:
        The potential. If there is a template, the potential has been tried on it.

    Raises:
        InputError: a file is damaged, a key is wrong, or the potential cannot compute the template.
    """
    if isinstance(source, Mapping):
        if template is None:
            raise InputError("load_potential: a mapping needs a template, a structure of the species to be computed")
        section = validated(_PotentialSection, {"potential": source}, "load_potential", name=_inside)
        return build_potential(section.potential, Frame.of(template))
    path = _path("load_potential", source)
    if is_model_file(path):
        potential = load_model_file(path)
        return potential if template is None else tried(potential, Frame.of(template), f"the model {path}")
    from .configuration import read_configuration, require
    from .template_structure import read_template

    configuration = read_configuration(path)
    require(configuration.potential, "potential", path, "it says what to evaluate")
    return build_potential(
        configuration.potential, read_template(configuration.structure) if template is None else Frame.of(template)
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
    """Serves forces to i-PI, or to any server that speaks its protocol, until it sends EXIT.

    Args:
        potential: a `Potential` or an ASE calculator.
        template: a structure with the species and periodicity of the simulation, in the order of the server.
        address: name of the unix socket, or, with a `port`, the host.
        port: TCP port; None: a unix socket.
        shared_memory: pass the numbers through shared memory (i-PI's `mode='shm'`).
        prefix: the prefix that i-PI puts before the name of a unix socket.
        driver: keys of the section [driver], such as `connect_deadline_seconds`.

    Returns:
        How serving ended, and the number of structures computed.

    Raises:
        InputError: an argument is wrong.
        NoServer: no server listens at the address before the deadline.
        PotentialError: too many evaluations failed in a row.
        ProtocolError: the server sent a different number of atoms, or does not speak the protocol.
    """
    from .ipi import driver as ipi_driver
    from .ipi.transports import SocketConfig

    check_arguments(driver, {*_arguments(serve), *ipi_driver.DriverConfig.model_fields}, "serve")
    if shared_memory and port is not None:
        raise InputError(f"serve: shared_memory = True goes with a unix socket, not with port = {port}; leave one out")
    mode = "shm" if shared_memory else "unix" if port is None else "inet"
    where = {"mode": mode, "address": address, "port": port, "prefix": prefix}
    served = as_potential(potential)
    return ipi_driver.serve(
        served,
        Frame.of(template),
        validated(SocketConfig, where, "serve", name=argument_of),
        validated(ipi_driver.DriverConfig, driver, "serve", name=argument_of),
    )


def fit_potential(config: str | Path | Mapping[str, Any] | None = None, **keys: Any) -> "Fit":
    """Fits a model and writes it to a file, as `forceserver fit` does.

    Args:
        config: path of a fit's TOML file, or its content as a mapping; None: `keys` alone define the fit.
        keys: keys of the fit, such as `output="si.npz", data={"train": "si.extxyz"}`; they override those in `config`.

    Returns:
        The model, the structures it was fitted to, and its predictions far from them.

    Raises:
        InputError: a key is wrong, or the data do not determine a model.
    """
    from .fit.config import FitConfig
    from .fit.run import fit
    from .sections import read_toml

    if config is None or isinstance(config, Mapping):
        content = {**(config or {}), **keys}
        return fit(validated(FitConfig, content, "fit_potential", Path.cwd(), name=argument_of))
    path = _path("fit_potential", config)
    return fit(validated(FitConfig, read_toml(path) | keys, str(path), path.absolute().parent))


def check_potential(potential: "Potential | GetPropertiesMixin", structure: "Frame | Atoms", **options: Any) -> Report:
    """Tests what every potential must satisfy: derivatives, symmetries, batches, rounding noise.

    Args:
        potential: a `Potential` or an ASE calculator.
        structure: a `Frame` or ASE `Atoms` to test on; it is rattled and sheared first.
        options: `tolerance` (relative, 1e-6), `step` of the finite differences (Angstrom; by default from the rounding
            noise), `skip` (a list of checks that do not apply: "translation" and "rotation" for an external field,
            "permutation" for something that knows atoms by their indices, "virial" for one that has none), `rattle`
            (0.05 Angstrom) and `strain` (0.03), which break the symmetry, and `seed`.

    Returns:
        A report that prints as a table; `report.raise_on_failure()` raises a `PotentialError` that contains it.
    """
    return conformance.check_potential(as_potential(potential), Frame.of(structure), **options)


OTHER_BIASES = ("opes", "multithermal")
"""Sections of [bias] with which it is no metadynamics."""


def _arguments(function: Callable[..., Any]) -> set[str]:
    """The names of the arguments of a function or class, but for the one that collects all others."""
    parameters = inspect.signature(function).parameters.values()
    return {one.name for one in parameters if one.kind is not one.VAR_KEYWORD}


def _by_name(variables: Variable | Sequence[Variable]) -> dict[str, Variable]:
    """Variables by their names; `InputError` for anything else, and for two of the same name."""
    given: list[Any] = list(variables) if isinstance(variables, list | tuple) else [variables]
    for one in given:
        if not isinstance(one, Variable):
            raise InputError(
                f"Metadynamics: variables: {shortened(one)} is neither a CollectiveVariable nor another Variable; make "
                "one, or derive your class from Variable"
            )
    named = {variable.name: variable for variable in given}
    if len(named) < len(given):
        names = ", ".join(variable.name for variable in given)
        raise InputError(f"Metadynamics: variables need different names (argument name), not {names}")
    return named


class Metadynamics(AtomicBias):
    """Well-tempered metadynamics on collective variables: a potential to be added to that of the atoms.

        bias = Metadynamics(
            polarisation,
            {"cv_norm": {"sigma": 0.01, "lower": 0.0, "upper": 0.4}},
            height_eV=0.01, pace_steps=50, temperature_K=300, bias_factor=8, time_step_fs=1, folder="run",
        )
        atoms.calc = SumCalculator([EMT(), ForceServerCalculator(bias)])

    Every configuration that differs from the previous one counts as a step. HILLS, COLVAR and the clock are written to
    `folder`; a new object with the same folder resumes from them. Call `close` at the end, or use the object as a
    context manager. The formulas and their sources are in docs/metadynamics.md.

    Args:
        variables: one `CollectiveVariable` or `Variable` of your own, or several with different names.
        on: maps an output of a variable, written `name_output`, to the keys of its section [[bias.variables]]: `sigma`
            (in the unit of the output), `lower`, `upper`, `domain`, `bins`, `hills`.
        height_eV: height of the first hill.
        pace_steps: steps between two hills.
        temperature_K: temperature of the simulation.
        time_step_fs: time step of the simulation, which converts steps to times in the files.
        bias_factor: gamma of the tempering; None: all hills have the same height.
        grid: "fixed" (leaving it is an error), "grow" or "none".
        folder: folder of the files; created if necessary.
        keys: other keys of the embedded bias, such as `walls=[{...}]`, `restraints=[{...}]`, `colvar_stride_steps`.

    Raises:
        InputError: a key is wrong, an output does not exist, or the files in the folder belong to another bias.
    """

    def __init__(
        self,
        variables: Variable | Sequence[Variable],
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
        known = {*_arguments(Metadynamics), *MetadynamicsConfig.model_fields} - {"engine", "hills", *OTHER_BIASES}
        check_arguments(keys, known, "Metadynamics")
        named = _by_name(variables)
        if not isinstance(on, Mapping) or not all(isinstance(options, Mapping) for options in on.values()):
            raise InputError(
                f"Metadynamics: on = {shortened(on)} should map outputs to their keys, as in "
                '{"cv_norm": {"sigma": 0.01, "lower": 0.0, "upper": 0.4}}'
            )
        places(list(on), named, "Metadynamics: on")
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

        def argument(where: Location) -> str:
            outputs = list(on)
            match where:
                case ("hills", *rest):
                    return argument_of(tuple(rest))
                case ("variables", int(k), *rest):
                    return argument_of(("on", outputs[k], *rest))
                case ("variables", *_):
                    return "on"
            return argument_of(where)

        config = validated(MetadynamicsConfig, content, "Metadynamics", place, name=argument)
        make_folder(place, "folder")
        config.check_files()
        with going_on(config.kept_in, bool(config.begun()), config.settings()) as after_an_error:
            super().__init__(config.build(), named)
            after_an_error.callback(self.close)

    def __enter__(self) -> "Metadynamics":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

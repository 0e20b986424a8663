"""PLUMED inside i-PI (<ffplumed>): does it start, does i-PI ever update it, and do both mean the same temperature?"""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import InputError
from ..files import working_in
from .bias import inspect_temperatures
from .findings import ADVICE, OK, WRONG, Finding
from .trial import in_a_child, naming

if TYPE_CHECKING:
    from ..configuration import Configuration
    from ..frame import Frame
    from ..ipi.input import IpiInput, PlumedForceField
    from ..ipi.rehearsal import Rehearsal


def inspect_plumed_in_ipi(ipi: "IpiInput", rehearsal: "Rehearsal | None") -> Iterator[Finding]:
    """Does i-PI ever update the PLUMED of an <ffplumed>, and do both mean the same temperature?"""
    from ..bias.plumed.actions import depend_on_time, written_in_updates
    from ..bias.plumed.input import read_actions

    for bias in ipi.plumed:
        if not any(system.beads_of(bias.name) for system in ipi.systems):
            continue
        try:
            actions = read_actions(bias.input, ipi.folder)
        except InputError:
            continue  # told by whoever lets PLUMED read it
        who = f"<ffplumed name='{bias.name}'>"
        smotion = f"<smotion mode='metad'><metad><metaff> [ {bias.name} ] </metaff></metad></smotion>"
        remedy = f"i-PI updates it only for {smotion}"
        if not bias.updated and depend_on_time(actions):
            text = f"{who} is in no <metaff>, so PLUMED will add no hills and not move what moves: {remedy}"
            yield Finding(WRONG, "plumed", text)
        elif not bias.updated and (idle := written_in_updates(actions)):
            text = f"{who} is in no <metaff>, so PLUMED will write nothing ({', '.join(idle)}): {remedy}"
            yield Finding(ADVICE, "plumed", text)
        if rehearsal is not None:
            yield from inspect_temperatures(actions, bias.name, ipi, rehearsal)


def inspect_plumed(configuration: "Configuration", template: "Frame", ipi: "IpiInput") -> Iterator[Finding]:
    """Lets PLUMED read the inputs of <ffplumed>, as i-PI will."""
    with _served_variables(configuration, template, ipi):
        for bias in ipi.plumed:
            atoms = max((len(system.species) for system in ipi.systems if system.beads_of(bias.name)), default=0)
            if atoms:
                yield _read(bias, atoms, ipi.folder)


@contextlib.contextmanager
def _served_variables(configuration: "Configuration", template: "Frame", ipi: "IpiInput") -> Iterator[None]:
    """Serves PLUMED inside i-PI the variables that the configured CV server will have."""
    from ..cv import build_variables
    from ..cv_server.server import CVServer

    with contextlib.ExitStack() as stack:
        if configuration.cv_server is not None and ipi.plumed:
            with contextlib.suppress(InputError):  # reported elsewhere
                stack.enter_context(CVServer(configuration.cv_server, build_variables(configuration.cv, template)))
        yield


def _read(bias: "PlumedForceField", atoms: int, folder: Path) -> Finding:
    from ..bias.plumed.kernel import load_kernel

    try:
        if not bias.input.is_file():
            raise InputError(f"there is no file {bias.input}")
        with tempfile.TemporaryDirectory() as scratch:
            in_a_child(read_by_plumed, load_kernel(), bias.input, atoms, folder, Path(scratch))
    except InputError as error:
        return Finding(WRONG, "plumed", f"<ffplumed name='{bias.name}'>: {error}")
    return Finding(OK, "plumed", f"PLUMED reads {bias.input.name} of <ffplumed name='{bias.name}'>")


def read_by_plumed(kernel: str | None, plumed_dat: Path, atoms: int, folder: Path, scratch: Path) -> None:
    """Starts PLUMED with an input in the folder `scratch`; errors are PLUMED's own."""
    import plumed

    from ..bias.plumed.elsewhere import bring
    from ..bias.plumed.written_files import check_folders

    check_folders(plumed_dat, folder)
    tried = bring(plumed_dat, folder, scratch)
    with working_in(scratch), naming({tried: plumed_dat}):
        instance = plumed.Plumed(kernel=kernel)
        instance.cmd("setMDEngine", "i-pi")
        instance.cmd("setPlumedDat", str(tried))
        instance.cmd("setNatoms", atoms)
        instance.cmd("setTimestep", 1.0)
        instance.cmd("setLogFile", os.devnull)
        instance.cmd("init")
        instance.finalize()

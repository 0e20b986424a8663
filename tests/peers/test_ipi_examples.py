"""i-PI's own examples: `check` refuses none that i-PI would run.

Needs a checkout of i-PI's sources, FORCESERVER_IPI_SOURCES: the examples are no part of its package.
"""

import os
import warnings
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from ase import Atoms

from forceserver.configuration import Configuration
from forceserver.elements import find_element
from forceserver.errors import InputError
from forceserver.ipi.input import read_ipi_input
from forceserver.preflight import WRONG, inspect

NOT_FOR_THIS_IPI = (
    "int() with base 10: 'FIXATOMS'",  # to be filled in by a script
    "'plumedextras' is not a recognized property",  # newer than the release
    "'ls_options' is not a recognized property of 'neb_optimizer'",  # pes/neb, of an older i-PI
    'Only "ase" or default units can be used with extended xyz format',  # ensemble-deltamu: format ase in angstrom
    "centroid virial kinetic energy estimator not applicable to bosons",  # bosons: kinetic_cv among the properties
    "unexpected keyword argument 'fixatoms_dof'",  # temp/broken
    "'Forces' object has no attribute 'copy'",  # temp/broken
)
"""What i-PI itself says to inputs that it does not take."""


def socket_of(root) -> dict | None:
    """A section [socket] that meets the first <ffsocket>, unless its mode is to be filled in by a script."""
    part = root.find(".//ffsocket")
    if part is None or (mode := part.get("mode", "inet")) not in ("unix", "inet", "shm"):
        return None
    address = (part.findtext("address") or "localhost").strip()
    if mode == "inet":
        return {"mode": mode, "address": address, "port": int(part.findtext("port") or 65535)}
    prefix = root.get("sockets_prefix", "/tmp/ipi_") if part in list(root) else "/tmp/ipi_"
    return {"mode": mode, "address": address, "prefix": prefix}


def template_of(path: Path, root, scratch: Path) -> Path:
    """The file that i-PI starts from; where it sends some of the atoms only, or the file is its own state, these."""
    names = [part.text.strip() for part in root.iter("file") if part.text]
    files = [path.parent / name for name in names if name.endswith((".xyz", ".pdb", ".extxyz"))]
    if root.find(".//ffsocket/activelist") is None and files and files[0].is_file():
        return files[0]
    ipi = read_ipi_input(path)
    server = ipi.sockets[0]
    system = next(system for system in ipi.systems if system.beads_of(server.forcefield))
    atoms = Atoms([find_element(label) or 0 for label in system.species], system.positions, cell=system.cell, pbc=True)
    chosen = atoms if server.active is None else atoms[list(server.active)]
    chosen.write(scratch / "template.extxyz")
    return scratch / "template.extxyz"


@pytest.mark.slow
def test_no_false_alarm(tmp_path):
    sources = os.environ.get("FORCESERVER_IPI_SOURCES")
    if not sources:
        pytest.skip("no sources of i-PI")
    warnings.simplefilter("ignore")
    checked, refused = 0, []
    for path in sorted(Path(sources).rglob("*.xml")):
        root = ET.parse(path).getroot()
        socket = socket_of(root) if root.tag == "simulation" else None
        if socket is None:
            continue
        try:
            file = template_of(path, root, tmp_path)
        except (InputError, StopIteration):
            continue
        content = {"structure": {"file": str(file)}, "socket": socket, "simulation": {"input": str(path)}}
        findings = inspect(path, Configuration.model_validate(content), drivers=1, compute=False)
        wrong = [finding.text for finding in findings if finding.verdict is WRONG]
        refused += [(str(path), text) for text in wrong if not any(words in text for words in NOT_FOR_THIS_IPI)]
        checked += 1
    assert checked > 100
    assert not refused

"""Steps of electronic structure codes that did not converge, which ASE reads like any other.

Forces of such a step may be anything. Since ASE leaves out some steps, they are counted and not assigned to structures.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..structures import format_of

_MARKS = {
    "vasp-out": re.compile("aborting loop EDIFF was not reached"),  # since 6.2
    "espresso-out": re.compile("convergence NOT achieved"),
    "gaussian-out": re.compile("Convergence criterion not met"),
    "aims-output": re.compile("Self-consistency cycle not converged"),
}
"""For ASE's name of each format what stands in the file once for each of these steps."""
_LIMIT = re.compile(r"\bNELM\s*=\s*(\d+)|name=\"NELM\">\s*(\d+)")
_ITERATION = re.compile(r"Iteration\s+(\d+)\(\s*(\d+)\)")


def unconverged(path: Path) -> int:
    """How many steps of a file did not converge; 0 for formats that do not tell."""
    kind = format_of(path) if path.is_file() else ""
    if kind not in (*_MARKS, "vasp-xml"):
        return 0
    from ase.io.formats import open_with_compression

    file: Any
    with open_with_compression(str(path), "rt") as file:
        if kind == "vasp-xml":
            return _of_xml(file)
        marked, limit, iterations = 0, None, {}
        for line in file:
            marked += bool(_MARKS[kind].search(line))
            if kind == "vasp-out" and (found := _ITERATION.search(line)):
                iterations[int(found[1])] = int(found[2])
            elif kind == "vasp-out" and limit is None and (found := _LIMIT.search(line)):
                limit = int(found[1])
    return marked or sum(last == limit for last in iterations.values())  # which older ones do not tell otherwise


def _of_xml(lines: Iterable[str]) -> int:
    """A step has as many `scstep` as iterations, and is not told otherwise."""
    limit, iterations, count = None, 0, 0
    for line in lines:
        if limit is None and (found := _LIMIT.search(line)):
            limit = int(found[2])
        iterations += "<scstep>" in line
        if "</calculation>" in line:
            count += iterations == limit
            iterations = 0
    return count

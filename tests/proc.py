"""Processes, as /proc shows them."""

import os


def read(pid: int) -> tuple[str, int] | None:
    """State and parent of a process; None if there is none."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            state, parent, *_ = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return state, int(parent)


def alive(pid: int) -> bool:
    found = read(pid)
    return found is not None and found[0] != "Z"


def children(pid: int) -> dict[int, str]:
    """Process ids and command lines of the living children of a process."""
    found = {}
    for entry in map(int, filter(str.isdigit, os.listdir("/proc"))):
        status = read(entry)
        if status is not None and status[0] != "Z" and status[1] == pid:
            try:
                with open(f"/proc/{entry}/cmdline") as file:
                    found[entry] = file.read().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue
    return found


def descendants(pid: int) -> dict[int, str]:
    """Those of the children, too."""
    found = children(pid)
    for child in list(found):
        found |= descendants(child)
    return found

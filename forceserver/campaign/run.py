"""Runs simulations to completion, a few at a time."""

import sys
import time
from collections import deque
from collections.abc import Mapping, Sequence

from .. import processes
from .display import CampaignDisplay, ResultText
from .simulation import Simulation

POLL_SECONDS = 0.2
GRACE_SECONDS = 30.0
"""For a `launch` that is told to end: it gives hanging i-PI and drivers ten each."""


def run(
    simulations: Sequence[Simulation],
    at_once: int,
    threads: int,
    labels: Mapping[str, str] | None = None,
    estimate: ResultText | None = None,
) -> int:
    """Runs prepared simulations until all are complete or one fails.

    threads: of each driver. labels, estimate: what the display shows for a simulation, see `CampaignDisplay`.

    Returns 0 if all are complete, the exit code of the one that failed, or 128 + n after signal n, which ends them
    in order; all can be resumed.
    """
    waiting = deque(simulation for simulation in simulations if not simulation.complete)
    with processes.signals_noted() as signals, CampaignDisplay(simulations, labels or {}, estimate) as display:
        try:
            while waiting or any(simulation.running for simulation in simulations):
                while waiting and sum(simulation.running for simulation in simulations) < at_once:
                    waiting.popleft().begin(threads)
                if signals:
                    return 128 + signals[0]
                if any(simulation.failed for simulation in simulations):
                    break
                display.update()
                time.sleep(POLL_SECONDS)
            display.update()
            failed = [simulation for simulation in simulations if simulation.failed]  # before the others are ended
        finally:
            processes.end([one.process for one in simulations if one.process], GRACE_SECONDS)
    return _tell_failure(failed[0]) if failed else 0


def _tell_failure(simulation: Simulation) -> int:
    code = simulation.code
    how = f"the simulation {simulation.name} failed ({processes.describe_end(code)})"
    print(f"forceserver: {how}; the end of {simulation.log}:", file=sys.stderr)
    print("\n".join(simulation.log.read_text(errors="replace").strip().splitlines()[-12:]), file=sys.stderr)
    return code if code > 0 else 1

"""i-PI itself, stepped on demand.

    python ipi_host.py INPUT.xml

Says "ready" when its socket is open. Every line on the standard input is a number of steps; they are done and the
seconds that they took are printed. The end of the input ends the simulation. Nothing is written to files.
"""

import os
import sys
import time

from ipi.engine.simulation import Simulation

if __name__ == "__main__":
    with open(sys.argv[1]) as file:
        simulation = Simulation.load_from_xml(file)
    print("ready", flush=True)
    for line in sys.stdin:
        simulation.tsteps = simulation.step + int(line)
        start = time.perf_counter()
        simulation.run(write_outputs=False)
        print(time.perf_counter() - start, flush=True)
    simulation.stop()
    os._exit(0)  # i-PI's exit handlers would write a restart file

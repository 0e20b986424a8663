"""Every role of a configuration, as `forceserver drive` plays them, with the time that each takes.

    python timed_drive.py CONFIG

At the end one line of JSON: the seconds of every call by role, in the order of the calls.
"""

import json
import sys
import threading
import time
from pathlib import Path

from forceserver.bias.choice import build_bias
from forceserver.configuration import read_configuration
from forceserver.cv import build_variables
from forceserver.ipi.driver import serve
from forceserver.potentials import build_potential
from forceserver.potentials.base import Potential
from forceserver.template_structure import read_template


class Timed(Potential):
    """A potential and the seconds of its calls."""

    def __init__(self, inner: Potential) -> None:
        self._inner = inner
        self.seconds: list[float] = []

    def compute_one(self, frame):
        return self.compute([frame])[0]

    def compute(self, frames):
        begin = time.perf_counter()
        results = self._inner.compute(frames)
        self.seconds.append(time.perf_counter() - begin)
        return results


if __name__ == "__main__":
    configuration = read_configuration(Path(sys.argv[1]))
    template = read_template(configuration.structure)
    roles = {"force": Timed(build_potential(configuration.potential, template))}
    if configuration.bias_socket:
        roles["bias"] = Timed(build_bias(configuration.bias, build_variables(configuration.cv, template), template))
        beside = threading.Thread(
            target=serve, args=(roles["bias"], template, configuration.bias_socket, configuration.driver), daemon=True
        )
        beside.start()
    serve(roles["force"], template, configuration.socket, configuration.driver)
    if configuration.bias_socket:
        beside.join()
    print(json.dumps({name: role.seconds for name, role in roles.items()}))

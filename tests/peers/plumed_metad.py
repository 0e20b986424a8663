"""Runs PLUMED's METAD, walls and restraints on given CV values, through its Python wrapper.

    python tests/peers/plumed_metad.py        regenerates tests/peers/data/*.npz (needs the PLUMED kernel)

The CVs reach PLUMED as EXTRACV, its unit of energy is eV (one in, one out: no conversion factor), its time step 1 fs.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forceserver.bias.plumed.kernel import find_kernel

DATA = Path(__file__).parent / "data"
KT = 0.025


@dataclass(frozen=True)
class Case:
    """names: the CVs. periodic: those with domain [-pi, pi]. lines: the PLUMED input; its files go to `{folder}`."""

    names: tuple[str, ...]
    periodic: tuple[str, ...]
    lines: tuple[str, ...]
    steps: int
    seed: int

    def trajectory(self) -> np.ndarray:
        """A random walk that stays within [-1.5, 1.5], (steps, d)."""
        noise = np.random.default_rng(self.seed).normal(size=(self.steps, len(self.names)))
        s = np.empty_like(noise)
        s[0] = 0.1
        for n in range(1, self.steps):
            s[n] = 0.97 * s[n - 1] + 0.08 * noise[n]
        return np.clip(s, -1.5, 1.5)


CASES = {
    "metad_1d": Case(
        ("a",),
        (),
        ("m: METAD ARG=a SIGMA=0.15 HEIGHT=0.02 PACE=2 BIASFACTOR=6 FILE={folder}/HILLS",),
        2001,
        1,
    ),
    "metad_2d": Case(
        ("a", "b"),
        ("b",),
        ("m: METAD ARG=a,b SIGMA=0.15,0.2 HEIGHT=0.03 PACE=3 BIASFACTOR=8 FILE={folder}/HILLS",),
        3001,
        2,
    ),
    "metad_3d": Case(
        ("a", "b", "c"),
        (),
        ("m: METAD ARG=a,b,c SIGMA=0.2,0.25,0.3 HEIGHT=0.05 PACE=1 BIASFACTOR=10 FILE={folder}/HILLS",),
        1001,
        3,
    ),
    "metad_untempered": Case(
        ("a",),
        (),
        ("m: METAD ARG=a SIGMA=0.15 HEIGHT=0.002 PACE=1 FILE={folder}/HILLS",),
        1001,
        4,
    ),
    "metad_grid": Case(
        ("a", "b"),
        ("b",),
        (
            "m: METAD ARG=a,b SIGMA=0.25,0.3 HEIGHT=0.03 PACE=3 BIASFACTOR=8 FILE={folder}/HILLS "
            "GRID_MIN=-2,-pi GRID_MAX=2,pi GRID_BIN=200,250 CALC_RCT",
            "PRINT ARG=m.rct FILE={folder}/RCT FMT=%.12f",
        ),
        601,
        5,
    ),
    "restraints": Case(
        ("a", "b", "c"),
        ("b",),
        (
            "UPPER_WALLS ARG=a AT=0.3 KAPPA=1.5 EXP=3 EPS=0.8 OFFSET=0.1",
            "LOWER_WALLS ARG=a,b AT=-0.2,0.1 KAPPA=2.5,1.0 EXP=2,4 EPS=1,0.5 OFFSET=0.05,0",
            "RESTRAINT ARG=c AT=0.4 KAPPA=3 SLOPE=0.2",
            "mv: MOVINGRESTRAINT ARG=b STEP0=20 AT0=-3 KAPPA0=1 STEP1=120 AT1=3 KAPPA1=4 STEP2=180 AT2=1 KAPPA2=2",
            "PRINT ARG=mv.work FILE={folder}/WORK FMT=%.12f",
        ),
        250,
        6,
    ),
    "one_sided": Case(
        ("a", "c"),
        (),
        (
            "MOVINGRESTRAINT ARG=a STEP0=0 AT0=-0.5 KAPPA0=1 STEP1=100 AT1=0.5 KAPPA1=1 VERSE=L",
            "MOVINGRESTRAINT ARG=c STEP0=0 AT0=-0.5 KAPPA0=1 STEP1=100 AT1=0.5 KAPPA1=1 VERSE=U",
        ),
        250,
        7,
    ),
}


def run(case: Case, folder: Path) -> dict[str, np.ndarray]:
    """Bias (steps,) and its gradient (steps, d) along the trajectory of the case, and its HILLS as text."""
    import plumed

    trajectory = case.trajectory()
    session = plumed.Plumed(kernel=find_kernel())
    try:
        session.cmd("setRealPrecision", 8)
        session.cmd("setMDEnergyUnits", 1.0)
        session.cmd("setNoVirial")
        session.cmd("setTimestep", 0.001)
        session.cmd("setKbT", KT)
        session.cmd("setNatoms", 1)
        session.cmd("setLogFile", str(folder / "log"))
        session.cmd("init")
        for name in case.names:
            if name in case.periodic:
                session.cmd("readInputLine", f"raw_{name}: EXTRACV NAME=extra_{name}")
                session.cmd("readInputLine", f"{name}: CUSTOM ARG=raw_{name} FUNC=x PERIODIC=-pi,pi")
            else:
                session.cmd("readInputLine", f"{name}: EXTRACV NAME=extra_{name}")
        for line in case.lines:
            session.cmd("readInputLine", line.format(folder=folder))
        bias, gradient = np.empty(case.steps), np.empty_like(trajectory)
        positions, forces, masses, box = np.zeros((1, 3)), np.zeros((1, 3)), np.ones(1), 10 * np.eye(3)
        values = {name: np.zeros(1) for name in case.names}
        pulls = {name: np.zeros(1) for name in case.names}
        energy = np.zeros(1)
        for step, s in enumerate(trajectory):
            session.cmd("setStep", step)
            session.cmd("setPositions", positions)
            session.cmd("setForces", forces)
            session.cmd("setMasses", masses)
            session.cmd("setBox", box)
            for k, name in enumerate(case.names):
                values[name][0], pulls[name][0] = s[k], 0.0
                session.cmd(f"setExtraCV extra_{name}", values[name])
                session.cmd(f"setExtraCVForce extra_{name}", pulls[name])
            session.cmd("calc")
            session.cmd("getBias", energy)
            bias[step] = energy[0]
            gradient[step] = [-pulls[name][0] for name in case.names]
    finally:
        session.finalize()
    found = {"bias": bias, "gradient": gradient}
    for name in ("HILLS", "RCT", "WORK"):
        if (folder / name).exists():
            found[name] = np.array((folder / name).read_text())
    return found


def main() -> None:
    import tempfile

    DATA.mkdir(exist_ok=True)
    for name, case in CASES.items():
        with tempfile.TemporaryDirectory() as folder:
            np.savez_compressed(DATA / f"{name}.npz", **run(case, Path(folder)))
    from test_sum_hills import expected_files

    for name in ("metad_1d", "metad_2d", "metad_untempered"):
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "HILLS").write_text(str(np.load(DATA / f"{name}.npz")["HILLS"]))
            fes, projection = expected_files(Path(folder), name, "kernel")
            np.savez_compressed(
                DATA / f"sum_hills_{name}.npz", fes=np.array(fes), projection=np.array(projection or "")
            )


if __name__ == "__main__":
    main()

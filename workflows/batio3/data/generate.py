#!/usr/bin/env python3
"""Generate PBEsol reference data (energy, forces, stress) for BaTiO3.

Needs gpaw 22.8 (plane-wave PAW), ase, numpy and the GPAW PAW data sets 0.9.20000 (Debian 12: apt-get install gpaw
gpaw-data). Run in the folder of this file:

  python3 generate.py run --worker 0 [--deadline UNIXTIME]   # start as many workers as cores; they share the queue
  python3 generate.py merge [--tiled]                        # train.extxyz, test.extxyz (and 40-atom tiled.extxyz)

All sampling is seeded (SEED, group number), so a group is the same whichever worker computes it; a structure that is in
raw/ already is skipped, and removing claims/ lets an interrupted group be taken up again. Every calculation uses the
k-points of a 6x6x6 Monkhorst-Pack mesh of the 5-atom cell, folded to the cell at hand, so that all cells share one
potential-energy surface.
"""

import argparse
import glob
import itertools
import os
import time

import numpy as np
from ase import Atoms
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import read, write

SEED = 20240611
ECUT = 600.0  # eV, plane-wave cutoff
NK = 6  # Monkhorst-Pack mesh of the 5-atom cell
H_MAX = 0.172  # Angstrom, wave-function grid spacing
A_LINE = 3.99  # Angstrom, lattice constant of the line scans

BASIS = np.array([(0, 0, 0), (0.5, 0.5, 0.5), (0, 0.5, 0.5), (0.5, 0, 0.5), (0.5, 0.5, 0)])  # Ba Ti O_x O_y O_z
SYMBOLS = ["Ba", "Ti", "O", "O", "O"]  # O_x: the O whose Ti-O-Ti chain runs along x
# soft-mode pattern (Ba, Ti, O across the chain, O along the chain); King-Smith & Vanderbilt, PRB 49, 5828 (1994)
XI_BA, XI_TI, XI_OPERP, XI_OPAR = 0.20, 0.76, -0.21, -0.53

CELLS = {  # integer supercell matrices, all of them commensurate with the 2x2x2 supercell
    "P": [[[1, 0, 0], [0, 1, 0], [0, 0, 1]]],
    "X": [[[1, 0, 0], [0, 1, 0], [0, 0, 2]], [[1, 0, 0], [0, 2, 0], [0, 0, 1]], [[2, 0, 0], [0, 1, 0], [0, 0, 1]]],
    "M": [[[1, 1, 0], [-1, 1, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 1], [0, -1, 1]], [[1, 0, -1], [0, 1, 0], [1, 0, 1]]],
    "R": [[[0, 1, 1], [1, 0, 1], [1, 1, 0]]],
    "XM": [[[2, 0, 0], [0, 2, 0], [0, 0, 1]], [[1, 0, 0], [0, 2, 0], [0, 0, 2]], [[2, 0, 0], [0, 1, 0], [0, 0, 2]]],
    "B": [[[-1, 1, 1], [1, -1, 1], [1, 1, -1]]],
    "C222": [[[2, 0, 0], [0, 2, 0], [0, 0, 2]]],
}
FIRST = ["P", "X", "R", "M", "P"]  # groups 4..8
CYCLE = ["X", "XM", "P", "X", "XM", "P", "XM", "X", "R", "P"]  # the others, repeated
PER_GROUP = 5
STRAINED = 900  # number of the first strained structure, each of them a group


# ----------------------------------------------------------------- structures
def lattice_points(S):
    """Primitive-lattice points inside the supercell S (rows: integer vectors)."""
    S = np.array(S)
    inv = np.linalg.inv(S)
    pts = []
    for n in itertools.product(range(-2, 3), repeat=3):
        f = np.array(n) @ inv
        if np.all(f > -1e-9) and np.all(f < 1 - 1e-9):
            pts.append(n)
    assert len(pts) == round(abs(np.linalg.det(S)))
    return np.array(pts)


def perovskite(S, prim):
    """Ideal perovskite in supercell S of the primitive cell vectors `prim` (rows)."""
    pts = lattice_points(S)
    scaled = np.concatenate([n + BASIS for n in pts])
    atoms = Atoms(SYMBOLS * len(pts), positions=scaled @ prim, cell=np.array(S) @ prim, pbc=True)
    return atoms, pts


def soft_mode(p):
    """Displacement pattern of one formula unit for the local mode vector p (3,), in Angstrom."""
    p = np.asarray(p, float)
    u = np.empty((5, 3))
    u[0] = XI_BA * p
    u[1] = XI_TI * p
    for i in range(3):
        u[2 + i] = XI_OPERP * p
        u[2 + i, i] = XI_OPAR * p[i]
    return u


def random_strain(rng):
    kind = rng.choice(["random", "random", "tetragonal", "orthorhombic", "rhombohedral", "cubic"])
    a = rng.uniform(3.94, 4.08) if rng.random() < 0.5 else rng.uniform(3.97, 4.03)
    e = np.zeros((3, 3))
    if kind == "random":
        v = rng.normal(0, 0.007, 6)
        e = np.array([[v[0], v[5] / 2, v[4] / 2], [v[5] / 2, v[1], v[3] / 2], [v[4] / 2, v[3] / 2, v[2]]])
    elif kind == "tetragonal":
        d = rng.uniform(-0.01, 0.03)
        i = rng.integers(3)
        e = np.diag([-d / 3] * 3)
        e[i, i] = 2 * d / 3
    elif kind == "orthorhombic":
        i, j, k = rng.permutation(3)
        d, s = rng.uniform(0, 0.012), rng.uniform(-0.008, 0.008)
        e[i, i], e[j, j], e[k, k] = d / 2, d / 2, -d
        e[i, j] = e[j, i] = s / 2
    elif kind == "rhombohedral":
        s = rng.uniform(-0.008, 0.008) * rng.choice([-1, 1], 3)
        e[0, 1] = e[1, 0] = s[0] / 2
        e[0, 2] = e[2, 0] = s[1] / 2
        e[1, 2] = e[2, 1] = s[2] / 2
    return str(kind), a * (np.eye(3) + e)


def random_direction(rng, family):
    v = {"001": [0, 0, 1], "011": [0, 1, 1], "111": [1, 1, 1]}[family]
    v = np.array(v)[rng.permutation(3)] * rng.choice([-1, 1], 3)
    return v / np.linalg.norm(v)


def displace(atoms, pts, rng):
    """One random set of displacements; returns the config type."""
    n = len(pts)
    kinds = (
        ["polar", "order_disorder", "rattle", "polar", "rattle"]
        if n == 1
        else ["order_disorder", "rattle", "antipolar", "polar", "order_disorder", "rattle"]
    )
    kind = str(rng.choice(kinds))
    modes = np.zeros((n, 3))
    if kind == "polar":
        modes[:] = rng.uniform(0, 0.25) * random_direction(rng, str(rng.choice(["001", "011", "111"])))
        sigma = rng.choice([0.0, 0.01, 0.02, 0.04, 0.06])
    elif kind == "antipolar":
        d = random_direction(rng, str(rng.choice(["001", "011", "111"])))
        amp = rng.uniform(0.03, 0.22)
        for _ in range(20):  # a wave vector of the 2x2x2 supercell that is not zero in this cell
            q = rng.integers(0, 2, 3)
            sign = np.cos(np.pi * (pts @ q))
            if sign.min() < 0:
                break
        modes[:] = amp * d * sign[:, None] + rng.choice([0, 1]) * rng.uniform(0, 0.1) * random_direction(rng, "111")
        sigma = rng.choice([0.01, 0.02, 0.04, 0.06])
    elif kind == "order_disorder":
        for i in range(n):
            modes[i] = rng.uniform(0, 0.17) * random_direction(rng, "111")
        sigma = rng.choice([0.01, 0.02, 0.04, 0.06])
    else:
        sigma = rng.uniform(0.01, 0.10)
        if rng.random() < 0.12:
            sigma = rng.uniform(0.09, 0.12)
            kind = "rattle_hot"
    u = np.zeros((n, 5, 3))
    for i in range(n):
        ti_o = soft_mode(modes[i])
        u[i, 0] += ti_o[0]
        u[i, 1] += ti_o[1]
    # each O belongs to two neighbouring formula units: mean of the two local modes along the chain
    index = {}
    S = np.rint(atoms.cell[:] @ np.linalg.inv(atoms.info["prim"])).astype(int)
    inv = np.linalg.inv(S)
    for i, p in enumerate(pts):
        index[tuple(np.rint(((p @ inv) % 1.0 % 1.0) * 1000).astype(int) % 1000)] = i
    for i, p in enumerate(pts):
        for x in range(3):
            q = np.array(p)
            q[x] -= 1
            j = index[tuple(np.rint(((q @ inv) % 1.0 % 1.0) * 1000).astype(int) % 1000)]
            u[i, 2 + x] += soft_mode(0.5 * (modes[i] + modes[j]))[2 + x]
    scale = np.array([0.8, 0.9, 1.15, 1.15, 1.15])
    u += sigma * scale[None, :, None] * rng.normal(0, 1, u.shape)
    u -= u.mean(axis=(0, 1))
    atoms.positions += u.reshape(-1, 3)
    return kind, float(sigma)


def strained():
    """Far from the crystal at rest: one axis or all of them much too long, with and without a soft mode along it.

    Without these a model may find the way out of the crystal cheap: at constant pressure and 500 K one did.
    """
    rng = np.random.default_rng([SEED, STRAINED])
    for stretch in (0.03, 0.05, 0.07, 0.10):
        for kind in ("one axis", "one axis, polar", "all axes, polar"):
            axis = rng.integers(3)
            strain = rng.uniform(-0.012, 0.012, 3)
            if kind == "all axes, polar":
                strain += 0.5 * stretch
            else:
                strain[axis] = stretch
            prim = A_LINE * np.diag(1 + strain)
            atoms, _ = perovskite(np.eye(3, dtype=int), prim)
            atoms.info.update(cell_kind="P", prim=prim, strain=kind)
            if "polar" in kind:
                atoms.positions += soft_mode((0.12 + 2.5 * stretch * rng.random()) * np.eye(3)[axis])
            atoms.positions += rng.normal(0, 0.05, atoms.positions.shape)
            yield atoms, "strained", False


def make_group(g):
    """List of (atoms, config_type) of group g; all structures of a group share one cell."""
    if g >= STRAINED:
        return list(strained())[g - STRAINED : g - STRAINED + 1]
    out = []
    if g == 0:  # perfect cubic crystal at several volumes
        for a in [3.92, 3.95, 3.97, 3.98, 3.99, 4.00, 4.02, 4.05, 4.08]:
            at, _ = perovskite(np.eye(3, dtype=int), a * np.eye(3))
            at.info.update(cell_kind="P", prim=a * np.eye(3), scan_a=a)
            out.append((at, "cubic_volume", True))
    elif g in (1, 2, 3):
        d = {1: (0, 0, 1), 2: (0, 1, 1), 3: (1, 1, 1)}[g]
        for amp in [0.04, 0.08, 0.11, 0.13, 0.15, 0.18, 0.22, 0.27]:
            at, _ = perovskite(np.eye(3, dtype=int), A_LINE * np.eye(3))
            at.positions += soft_mode(amp * np.array(d) / np.linalg.norm(d))
            at.info.update(cell_kind="P", prim=A_LINE * np.eye(3), scan_amplitude=amp)
            out.append((at, "line_" + "".join(map(str, d)), True))
    else:
        rng = np.random.default_rng([SEED, g])
        name = FIRST[g - 4] if g < 9 else "C222" if g % 13 == 12 else CYCLE[(g - 9) % len(CYCLE)]
        S = CELLS[name][rng.integers(len(CELLS[name]))]
        strain, prim = random_strain(rng)
        for _ in range(3 if name == "C222" else PER_GROUP):
            at, pts = perovskite(S, prim)
            at.info.update(cell_kind=name, prim=prim, strain=strain)
            kind, sigma = displace(at, pts, rng)
            at.info["sigma"] = sigma
            out.append((at, kind, False))
    return out


# ----------------------------------------------------------------- DFT
def kpoints(S, nk=NK):
    """Monkhorst-Pack mesh of the primitive cell folded into supercell S (fractional coordinates of S)."""
    ks = (np.arange(nk) + 0.5) / nk - 0.5
    prim = np.array(list(itertools.product(ks, repeat=3)))
    sc = prim @ np.array(S).T
    sc = (np.rint(sc * 8 * nk).astype(int)) % (8 * nk)
    sc = np.unique(sc, axis=0) / (8.0 * nk)
    sc[sc > 0.5 + 1e-9] -= 1.0
    return sc


def grid(cell):
    """Points along the cell vectors for the wave functions, in multiples of four that are good for an FFT."""
    gpts = [int(np.ceil(l / H_MAX / 4 - 0.02)) * 4 for l in np.linalg.norm(np.asarray(cell), axis=1)]
    return [{44: 48, 28: 28, 52: 56}.get(x, x) for x in gpts]


def make_calc(S, cell, symmetric=False, ecut=ECUT, nk=NK, txt=None, tight=False, beta=0.4, nold=8, gpts=None):
    from gpaw import GPAW, PW, Davidson, FermiDirac, Mixer
    from gpaw.xc import XC

    xc = XC("PBEsol")
    xc.get_setup_name = lambda: "PBE"  # PBE frozen cores and projectors, PBEsol functional
    n = round(abs(np.linalg.det(S)))
    diag = np.array_equal(np.array(S), np.diag(np.diag(S))) and all((nk // int(x)) % 2 == 0 for x in np.diag(S))
    kp = {"size": tuple(nk // int(x) for x in np.diag(S))} if diag else kpoints(S, nk)
    return GPAW(
        mode=PW(ecut),
        xc=xc,
        kpts=kp,
        gpts=gpts or grid(cell),
        symmetry={} if symmetric else {"point_group": False},
        nbands=21 * n + 2,
        occupations=FermiDirac(0.01),
        eigensolver=Davidson(1),
        mixer=Mixer(beta, nold, 1.0),
        maxiter=70,
        convergence={
            "energy": 2e-6 if tight else 2e-5,
            "density": 2e-5 if tight else 3e-4,
            "bands": "occupied",
            "eigenstates": 4e-8 if tight else 6e-5,
        },
        txt=txt,
    )


def label(atoms, info, calc):
    """A copy of `atoms` with info, energy, forces, stress, and what they have cost."""
    t, c = time.time(), time.process_time()
    atoms = Atoms(atoms.symbols, positions=atoms.positions, cell=atoms.cell, pbc=True, calculator=calc)
    e, f, s = atoms.get_potential_energy(), atoms.get_forces(), atoms.get_stress()
    new = atoms.copy()
    new.calc = SinglePointCalculator(new, energy=e, forces=f - f.mean(axis=0), stress=s)
    new.info.update(
        info,
        drift=float(abs(f.sum(axis=0)).max()),
        cpu_s=round(time.process_time() - c, 1),
        wall_s=round(time.time() - t, 1),
        n_scf=int(calc.get_number_of_iterations()),
    )
    return new


def run(args):
    os.makedirs("claims", exist_ok=True)
    os.makedirs("raw", exist_ok=True)
    out = f"raw/native_{args.worker}.extxyz"
    for g in range(args.first, args.last):
        if time.time() > args.deadline:
            break
        try:
            os.close(os.open(f"claims/{g}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        group = make_group(g)
        calc = None
        done = set()
        for name in glob.glob("raw/native_*.extxyz"):
            done |= {(a.info["group"], a.info["index"]) for a in read(name, ":")}
        for i, (at, kind, sym) in enumerate(group):
            if time.time() > args.deadline:
                break
            if (g, i) in done:
                continue
            info = dict(at.info)
            prim = info.pop("prim")
            S = np.rint(at.cell[:] @ np.linalg.inv(prim)).astype(int)
            try:
                if calc is None or sym:
                    # the grid of strained cells is that of cells at rest, however long they are
                    like = A_LINE * S if g >= STRAINED else at.cell
                    calc = make_calc(S, like, sym, txt=f"gpaw_{args.worker}.txt")
                new = label(at, info | {"config_type": kind, "group": g, "index": i}, calc)
            except Exception as ex:
                print("FAILED", g, i, kind, type(ex).__name__, ex, flush=True)
                calc = None
                continue
            write(out, new, format="extxyz", append=True)
            print(
                g,
                i,
                info["cell_kind"],
                kind,
                f"E/fu {new.get_potential_energy() / len(at) * 5:.4f}",
                f"fmax {abs(new.get_forces()).max():.2f}",
                "it {n_scf} cpu {cpu_s} wall {wall_s}".format(**new.info),
                flush=True,
            )


# ----------------------------------------------------------------- merge
# Finite-basis correction (Francis & Payne, J. Phys.: Condens. Matter 2, 4395 (1990)): at a constant cutoff the number
# of plane waves jumps with the cell. E_corrected = E + n_fu * C_PW * ln(N_pw / N_ideal), C_PW = -dE/dlnN_pw in eV per
# formula unit: least squares with a cubic in V^(-2/3) through the nine cubic volumes, 0.5 meV per formula unit at most
# from it. The 6x6x6 mesh averages the jumps, so that C_PW is known to about 0.3 only, and matters as little.
C_PW = 1.85
# Pulay stress of the constant-cutoff energy: sigma_corrected = sigma - PV_PULAY / V_fu * identity; mean of
# (sigma - dE/dV) V along the same curve (1.72 to 1.91).
PV_PULAY = 1.87
# energy offset per formula unit of the cells whose FFT grid is not the one of the 5-atom cell, in eV: R measured with
# this mesh (the same crystal in both cells), M and B with 4x4x4
GRID_OFFSET = {"M": 3.26e-3, "R": 2.61e-3, "B": 3.11e-3}


def count_plane_waves(cell, S, ecut=ECUT):
    """Mean number of plane waves over the k-points, and the ideal (continuous) number."""
    hartree, bohr = 27.211386245988, 0.529177210903
    rec = 2 * np.pi * np.linalg.inv(np.asarray(cell)).T
    gmax = np.sqrt(2 * ecut / hartree) / bohr
    n = [int(np.ceil(gmax * np.linalg.norm(a) / 2 / np.pi)) + 1 for a in np.asarray(cell)]
    G = np.array(list(itertools.product(*[range(-m, m + 1) for m in n])))
    ks = kpoints(S)
    total = sum(int(((((G + k) @ rec) ** 2).sum(1) <= gmax**2).sum()) for k in ks)
    return total / len(ks), abs(np.linalg.det(cell)) * gmax**3 / 6 / np.pi**2


def corrected(atoms, S):
    """Energy and stress of a calculation without the errors of the finite basis and of the grid."""
    n = len(atoms) // 5
    npw, ideal = count_plane_waves(atoms.cell[:], S)
    offset = GRID_OFFSET.get(atoms.info["cell_kind"], 0.0)
    stress = atoms.get_stress()
    stress[:3] -= PV_PULAY * n / atoms.get_volume()
    return atoms.get_potential_energy() + n * (C_PW * np.log(npw / ideal) - offset), stress


def tile(at, S, e, f, s):
    """Exact periodic repetition to the 2x2x2 supercell (40 atoms)."""
    T = np.rint(2 * np.linalg.inv(S)).astype(int)
    pts = lattice_points(T)
    m = len(pts)
    big = Atoms(
        list(at.get_chemical_symbols()) * m,
        cell=T @ at.cell[:],
        pbc=True,
        positions=np.concatenate([at.positions + p @ at.cell[:] for p in pts]),
    )
    big.calc = SinglePointCalculator(big, energy=e * m, forces=np.tile(f, (m, 1)), stress=s)
    big.info.update(at.info)
    return big


TEST = {"md_uncertain": 0.25}  # share of the test set, where it is not 0.15


def planned(frames):
    """For each frame the structure that was to be computed and its supercell matrix."""
    groups, selected = {}, {}
    for name in glob.glob("active_selected_*.extxyz"):
        selected |= {(a.info["group"], a.info["index"]): a for a in read(name, ":")}
    for a in frames:
        g, i = a.info["group"], a.info["index"]
        if (g, i) in selected:
            yield selected[g, i], np.array(a.info["supercell"]).reshape(3, 3)
        else:
            atoms = groups.setdefault(g, make_group(g))[i][0]
            yield atoms, np.rint(atoms.cell[:] @ np.linalg.inv(atoms.info["prim"])).astype(int)


def merge(args):
    frames = []
    for name in sorted(glob.glob("raw/*.extxyz")):
        new = read(name, ":")
        for a in new:
            a.info["held_out"] = os.path.basename(name).startswith("held_out")
        frames += new
    frames.sort(key=lambda a: (a.info["group"], a.info["index"]))
    native, tiled = [], []
    rows = []
    for a, (atoms0, S) in zip(frames, planned(frames), strict=True):
        assert abs(atoms0.cell[:] - a.cell[:]).max() < 1e-6
        assert abs(atoms0.positions - a.positions).max() < 1e-6
        rows.append((a, S, a.info["cell_kind"], len(a) // 5, *corrected(a, S)))
    cub = [(r[0].info["scan_a"], r[4]) for r in rows if r[0].info["config_type"] == "cubic_volume"]
    x, y = np.array(cub).T
    p = np.polyfit(x**-2.0, y, 2)
    a0 = (-2 * p[0] / p[1]) ** 0.5
    e_ref = float(np.polyval(p, a0**-2.0))
    print(f"cubic a0 {a0:.4f}, E {e_ref:.6f} eV per formula unit = energy zero")
    for a, S, kind, n, e, s in rows:
        new = Atoms(a.get_chemical_symbols(), positions=a.positions, cell=a.cell, pbc=True)
        r = np.random.default_rng([SEED, 99, a.info["group"], a.info["index"]]).random()
        new.info = {
            "config_type": a.info["config_type"],
            "split": "test" if a.info["held_out"] or r < TEST.get(a.info["config_type"], 0.15) else "train",
            "cell_kind": kind,
            "n_fu_independent": n,
            "structure_id": f"g{a.info['group']:03d}i{a.info['index']}",
            "energy_uncorrected": float(a.get_potential_energy() * (8 / n)),
        }
        for key in ("scan_a", "scan_amplitude", "sigma", "strain", "temperature", "ensemble", "uncertainty"):
            if key in a.info:
                new.info[key] = a.info[key]
        e, f = e - n * e_ref, a.get_forces()
        tiled.append(tile(new, S, e, f, s))
        new.info["energy_uncorrected"] *= n / 8
        new.calc = SinglePointCalculator(new, energy=e, forces=f, stress=s)
        native.append(new)
    files = {f"{part}.extxyz": [a for a in native if a.info["split"] == part] for part in ("train", "test")}
    if args.tiled:
        files["tiled.extxyz"] = tiled
    for name, data in files.items():
        write("tmp_" + name, data, format="extxyz")
        os.replace("tmp_" + name, name)
        print(name, len(data), "structures")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("what", choices=["run", "list", "merge"])
    p.add_argument("--worker", type=int, default=0)
    p.add_argument("--first", type=int, default=0)
    p.add_argument("--last", type=int, default=100000)
    p.add_argument("--deadline", type=float, default=np.inf)
    p.add_argument("--tiled", action="store_true", help="merge: also write 2x2x2 supercells")
    args = p.parse_args()
    if args.what == "run":
        run(args)
    elif args.what == "merge":
        merge(args)
    else:
        for g in range(40):
            grp = make_group(g)
            print(g, grp[0][0].info["cell_kind"], [k for _, k, _ in grp])

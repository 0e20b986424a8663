"""One trajectory through the action, hosted PLUMED and the embedded engine: the same values, the same 50 hills."""

import numpy as np
import pytest
from plumed_runs import driver, table
from polarization import POLARIZATION

from forceserver.bias.choice import build_bias
from forceserver.bias.config import MetadynamicsConfig
from forceserver.bias.plumed.config import PlumedConfig
from forceserver.cv import build_variables, variable_section
from forceserver.cv_server.server import CVServer, CVServerConfig
from forceserver.frame import Frame

pytestmark = pytest.mark.plumed

SECTION = POLARIZATION | {"name": "p"}
METAD = "METAD ARG={} SIGMA=0.01,0.01,0.01 HEIGHT=1.2 PACE=2 BIASFACTOR=8 TEMP=300 FILE=HILLS.{} FMT=%24.14g\n"


def test_the_same_hills(batio3, action, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(2)
    trajectory = [batio3.copy() for _ in range(102)]
    for atoms in trajectory:
        atoms.positions += rng.normal(0, 0.03, (40, 3))
    template = Frame.from_ase(batio3)
    variables = build_variables([variable_section(SECTION)], template)

    with CVServer(CVServerConfig(address=str(tmp_path / "s")), variables) as server:
        text = f"LOAD FILE={action}\np: FORCESERVER ADDRESS={server.address} CV=p\n"
        text += METAD.format("p.x,p.y,p.z", "action") + "PRINT ARG=p.x,p.y,p.z FILE=COLVAR FMT=%.14g\n"
        run = driver(tmp_path, text, trajectory)
        assert run.returncode == 0, run.stdout + run.stderr

    names = ["p_x", "p_y", "p_z"]
    lines = [f"{name}: EXTRACV NAME={name}\n" for name in names]
    (tmp_path / "hosted.dat").write_text("".join(lines) + METAD.format(",".join(names), "hosted"))
    hosted = PlumedConfig(plumed_dat=tmp_path / "hosted.dat", time_step_fs=1, temperature_K=300)
    embedded = MetadynamicsConfig.model_validate(
        {
            "time_step_fs": 1,
            "colvar_file": None,
            "variables": [{"name": name, "sigma": 0.01} for name in names],
            "hills": {
                "height_eV": 1.2 / 96.48533212331,
                "pace_steps": 2,
                "temperature_K": 300,
                "bias_factor": 8,
                "grid": "none",
                "file": "HILLS.embedded",
            },
        }
    )
    results = {}
    for name, section in {"hosted": hosted, "embedded": embedded}.items():
        bias = build_bias(section, variables, template)
        results[name] = [bias.compute_one(Frame.from_ase(atoms)) for atoms in trajectory]
        bias.close()

    hills = {way: np.loadtxt(f"HILLS.{way}") for way in ("action", "hosted", "embedded")}
    assert len(hills["action"]) == 50
    for way in ("hosted", "embedded"):
        np.testing.assert_allclose(hills[way][:50, 1:8], hills["action"][:50, 1:8], rtol=1e-7, atol=1e-9, err_msg=way)
    colvar = table(tmp_path / "COLVAR")
    for k, (a, b) in enumerate(zip(results["hosted"], results["embedded"], strict=True)):
        assert [a.extras[name] for name in names] == pytest.approx([b.extras[name] for name in names], abs=1e-13)
        assert [colvar[f"p.{c}"][k] for c in "xyz"] == pytest.approx([a.extras[name] for name in names], abs=1e-9)
        assert a.energy == pytest.approx(b.energy, abs=1e-7)
        np.testing.assert_allclose(a.forces, b.forces, atol=1e-6)
        np.testing.assert_allclose(a.virial, b.virial, atol=1e-6)
    assert results["hosted"][-1].energy > 0.01

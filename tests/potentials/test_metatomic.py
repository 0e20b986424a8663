"""Exported metatomic models, against metatomic's own ASE calculator."""

# TorchScript wants the annotations of Python 3.8
# ruff: noqa: UP006, UP035, UP045
import sys
from typing import Dict, List, Optional

import numpy as np
import pytest
from ase.build import bulk
from pydantic import TypeAdapter

from forceserver.errors import InputError, PotentialError
from forceserver.frame import Frame
from forceserver.potentials import PotentialConfig, build_potential
from forceserver.potentials.conformance import check_potential

mta = pytest.importorskip("metatomic.torch")
torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch

from metatensor.torch import Labels, TensorBlock, TensorMap  # noqa: E402

CUTOFF = 5.5
DEPTHS = (0.30, 0.35, 0.40)


class Morse(torch.nn.Module):
    """Morse potentials of several depths, smoothly switched off: the mean is the energy, the depths are an ensemble."""

    def __init__(self, cutoff: float, depths: List[float]):
        super().__init__()
        self.cutoff = cutoff
        self.register_buffer("depths", torch.tensor(depths, dtype=torch.float64))

    def requested_neighbor_lists(self) -> List[mta.NeighborListOptions]:
        return [mta.NeighborListOptions(cutoff=self.cutoff, full_list=True, strict=True)]

    def forward(
        self,
        systems: List[mta.System],
        outputs: Dict[str, mta.ModelOutput],
        selected_atoms: Optional[Labels],
    ) -> Dict[str, TensorMap]:
        members: List[torch.Tensor] = []
        atomic: List[torch.Tensor] = []
        samples: List[torch.Tensor] = []
        for index, system in enumerate(systems):
            block = system.get_neighbor_list(self.requested_neighbor_lists()[0])
            vectors = block.values.squeeze(-1)
            r = torch.sqrt((vectors**2).sum(1))
            x = torch.clamp((r - 0.7 * self.cutoff) / (0.3 * self.cutoff), 0.0, 1.0)
            switch = 1.0 - x**3 * (10.0 - x * (15.0 - 6.0 * x))
            bond = torch.exp(-1.5 * (r - 2.8))
            pair = 0.5 * (bond**2 - 2.0 * bond) * switch
            first = block.samples.column("first_atom").to(torch.long)
            atom = torch.zeros(len(system), dtype=pair.dtype, device=pair.device).index_add(0, first, pair)
            depths = self.depths.to(pair.dtype)
            members.append(pair.sum() * depths)
            atomic.append(atom * depths.std())
            columns = [torch.full((len(system),), index), torch.arange(len(system))]
            samples.append(torch.stack(columns, 1).to(pair.device))

        device = systems[0].positions.device
        ensemble = torch.stack(members)
        one = Labels(["_"], torch.tensor([[0]], device=device))
        system_labels = Labels(["system"], torch.arange(len(systems), device=device).reshape(-1, 1))
        results: Dict[str, TensorMap] = {}
        for name, output in outputs.items():
            properties = Labels(["energy"], torch.tensor([[0]], device=device))
            labels = system_labels
            if name.startswith("energy_ensemble"):
                values = ensemble
                properties = Labels(["energy"], torch.arange(ensemble.shape[1], device=device).reshape(-1, 1))
            elif name.startswith("energy_uncertainty"):
                values = torch.abs(torch.cat(atomic)).reshape(-1, 1)
                labels = Labels(["system", "atom"], torch.cat(samples))
                if output.sample_kind == "system":
                    values = ensemble.std(1, keepdim=True)
                    labels = system_labels
            else:
                values = ensemble.mean(1, keepdim=True)
            results[name] = TensorMap(one, [TensorBlock(values, labels, [], properties)])
        return results


def export(path, dtype="float64", outputs=None, length_unit="angstrom", unit="eV", types=(13,)):
    outputs = {"energy": "system", **(outputs or {})}
    capabilities = mta.ModelCapabilities(
        outputs={name: mta.ModelOutput(unit=unit, sample_kind=kind) for name, kind in outputs.items()},
        atomic_types=list(types),
        interaction_range=CUTOFF,
        length_unit=length_unit,
        supported_devices=["cpu"],
        dtype=dtype,
    )
    mta.AtomisticModel(Morse(CUTOFF, list(DEPTHS)).eval(), mta.ModelMetadata(), capabilities).save(str(path))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return export(tmp_path_factory.mktemp("model") / "morse.pt")


@pytest.fixture
def atoms():
    atoms = bulk("Al", cubic=True)
    atoms.set_cell(atoms.cell.array @ [[1, 0.1, 0], [0, 1, 0.05], [0.02, 0, 1]], scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    return atoms


def build(path, atoms, **keys):
    config = TypeAdapter(PotentialConfig).validate_python({"kind": "metatomic", "model": str(path), **keys})
    return build_potential(config, Frame.from_ase(atoms))


@pytest.mark.parametrize("options", [{}, {"length_unit": "nanometer", "unit": "kJ/mol"}, {"dtype": "float32"}])
def test_model_is_the_model_of_the_ase_calculator(tmp_path, atoms, options):
    """In any units of the model, in both precisions, in a batch."""
    calculator = pytest.importorskip("metatomic_ase").MetatomicCalculator
    path = export(tmp_path / "model.pt", **options)
    if "length_unit" in options:  # cutoff and bonds are so long that all atoms interact; the numbers are what counts
        atoms.set_cell(atoms.cell.array * 10, scale_atoms=True)
    tolerance = 1e-4 if "dtype" in options else 1e-10
    potential = build(path, atoms)
    frames, structures = [], []
    for seed in range(3):
        atoms.rattle(0.05, seed=seed)
        structures.append(atoms.copy())
        frames.append(Frame.from_ase(atoms))
    for result, structure in zip(potential.compute(frames), structures, strict=True):
        structure.calc = calculator(str(path))
        virial = -structure.get_volume() * structure.get_stress(voigt=False)
        assert result.energy == pytest.approx(structure.get_potential_energy(), rel=tolerance)
        np.testing.assert_allclose(result.forces, structure.get_forces(), atol=tolerance)
        np.testing.assert_allclose(result.virial, virial, atol=10 * tolerance, rtol=tolerance)


@pytest.mark.parametrize("pbc", [(1, 1, 1), (0, 1, 1), (0, 0, 0)])
def test_conformance(model, atoms, pbc):
    atoms.pbc = pbc
    check_potential(build(model, atoms), Frame.from_ase(atoms)).raise_on_failure()


def test_conformance_in_single_precision(tmp_path, atoms):
    potential = build(export(tmp_path / "single.pt", dtype="float32"), atoms)
    report = check_potential(potential, Frame.from_ase(atoms))
    report.raise_on_failure()
    assert "single precision" in str(report)


def test_a_batch_is_one_call(model, atoms):
    potential = build(model, atoms)
    calls = []
    inner = potential._model
    potential._model = type(
        "Counting",
        (),
        {
            "__call__": lambda self, systems, *args, **keys: (
                calls.append(len(systems)) or inner(systems, *args, **keys)
            ),
            "requested_neighbor_lists": inner.requested_neighbor_lists,
        },
    )()
    potential.compute([Frame.from_ase(atoms)] * 4)
    assert calls == [4]


def test_uncertainties(tmp_path, atoms):
    path = export(tmp_path / "model.pt", outputs={"energy_ensemble": "system", "energy_uncertainty": "system"})
    frames = [Frame.from_ase(atoms)]
    atoms.rattle(0.1, seed=3)
    frames.append(Frame.from_ase(atoms))
    for result in build(path, atoms).compute(frames):
        np.testing.assert_allclose(result.extras["committee_pot"], result.energy * np.array(DEPTHS) / np.mean(DEPTHS))
        spread = abs(result.energy) * np.std(DEPTHS, ddof=1) / np.mean(DEPTHS)
        assert result.extras["committee_uncertainty"] == pytest.approx(spread)
        assert result.extras["energy_uncertainty"] == pytest.approx(spread)
    assert build(path, atoms, uncertainty=False).compute_one(frames[0]).extras == {}


def test_uncertainties_of_atoms(tmp_path, atoms):
    path = export(tmp_path / "model.pt", outputs={"energy_uncertainty": "atom"})
    frames = [Frame.from_ase(atoms), Frame.from_ase(atoms)]
    frames[1].positions[2] += 0.3
    calculator = pytest.importorskip("metatomic_ase").MetatomicCalculator(str(path))
    request = {"energy_uncertainty": mta.ModelOutput(unit="eV", sample_kind="atom")}
    for frame, result in zip(frames, build(path, atoms).compute(frames), strict=True):
        values = calculator.run_model(frame.to_ase(), request)["energy_uncertainty"].block().values
        assert result.extras == {"atomic_energy_uncertainty": pytest.approx(float(values.max()))}


def test_variants(tmp_path, atoms):
    path = export(tmp_path / "model.pt", outputs={"energy/pbe": "system", "energy_ensemble/pbe": "system"})
    assert "committee_pot" in build(path, atoms, variant="pbe").compute_one(Frame.from_ase(atoms)).extras
    with pytest.raises(InputError, match="r2scan"):
        build(path, atoms, variant="r2scan")


def test_wrong_input_names_the_wrong_thing(tmp_path, model, atoms):
    silicon = bulk("Si")
    with pytest.raises(InputError, match=r"does not know the species Si; it knows Al"):
        build(model, silicon)
    with pytest.raises(PotentialError, match=r"\[14\]"):
        build(model, atoms).compute_one(Frame.from_ase(silicon))
    (tmp_path / "text.pt").write_text("not a model")
    with pytest.raises(InputError, match=r"cannot use the metatomic model .*text\.pt"):
        build(tmp_path / "text.pt", atoms)
    with pytest.raises(InputError, match="no such folder"):
        build(model, atoms, extensions=str(tmp_path / "absent"))
    with pytest.raises(InputError, match="cuda"):
        build(model, atoms, device="cuda")


def test_a_device_that_is_not_there_is_one_line(model, atoms):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(InputError, match=r"requested device .cuda.") as error:
        build(model, atoms, device="cuda")
    assert "\n" not in str(error.value)


def test_metatomic_that_is_not_installed(monkeypatch, model, atoms):
    monkeypatch.setitem(sys.modules, "metatomic.torch", None)
    with pytest.raises(InputError, match=r"pip install 'forceserver\[metatomic\]'"):
        build(model, atoms)

"""What `forceserver fit` reads: data, descriptors, expected errors."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from ..models.embedding import Embedding
from ..models.kernel import SoapHypers
from ..models.pairs import LennardJones, Zbl
from ..representation.bases import AnyRadialBasis
from ..representation.contraction_config import ContractionConfig
from ..representation.multispectrum_config import MultispectrumConfig
from ..representation.polynomial import PolynomialBasis
from ..representation.products import LARGEST, Truncation
from ..sections import Element, InputFile, OutputPath, Section, read_toml, validated
from .labels import LabelKeys
from .solvers import Ridge, Solver


class DataConfig(Section):
    """Section [data]: structures with labels. Any label may be missing in a structure.

    train, test: any files that `evaluate` reads.
    energy_key, forces_key, virial_key, stress_key: names of the labels; "none" for one that is not to be read; default:
    the usual ones, see `labels`. virials go before stresses.
    group_key: label by which errors are told and sigmas are given; default: config_type.
    """

    train: InputFile
    test: InputFile | None = None
    energy_key: str | None = None
    forces_key: str | None = None
    virial_key: str | None = None
    stress_key: str | None = None
    group_key: str | None = None

    def keys(self) -> LabelKeys:
        """The names of the labels."""
        return LabelKeys(
            self.energy_key, self.forces_key, self.virial_key, self.stress_key, self.group_key, "data.{}_key"
        )


class Sigma(Section):
    """Expected errors of the labels, which say how closely each is to be met.

    energy_ev and virial_ev: times sqrt(N) for the energy and virial of N atoms. force_ev_per_angstrom: of a component.
    """

    energy_ev: float = Field(default=0.003, gt=0)
    force_ev_per_angstrom: float = Field(default=0.1, gt=0)
    virial_ev: float = Field(default=0.1, gt=0)


class SoapDescriptor(SoapHypers):
    """`kind = "soap"`: kernels of power spectra.

    What is None is chosen by `defaults.complete` for the data. `scaling = false` in the basis switches the radial
    scaling off, which otherwise has rate 1, half of the cutoff as scale, and exponent 4.

    contraction: of the radial functions, from the training structures unless it says so; a file brings the basis along.
    multispectrum: invariants up to order 4 in the place of the power spectrum.
    n_sparse: points of each species. n_features: chosen among all; default all.
    delta_ev: expected standard deviation of an atomic energy. jitter: added to the kernel of the sparse points,
    times its largest eigenvalue; 1e-8 makes weights small enough for single precision, at some cost in accuracy.
    """

    kind: Literal["soap"]
    basis: AnyRadialBasis | None = None  # type: ignore[assignment]  # `defaults.complete` chooses one
    contraction: ContractionConfig | None = None
    multispectrum: MultispectrumConfig | None = None
    delta_ev: float | None = Field(default=None, gt=0)
    jitter: float = Field(default=1e-13, ge=1e-15, le=1e-3)
    n_sparse: int | None = Field(default=None, ge=1)
    sparse_selection: Literal["fps", "cur", "random"] = "fps"
    n_features: int | None = Field(default=None, ge=1)
    feature_selection: Literal["fps", "cur"] = "fps"

    @field_validator("basis", mode="before")
    @classmethod
    def _scaled(cls, basis: Any) -> Any:
        if not isinstance(basis, dict):
            return basis
        scaling = basis.get("scaling", True)
        if scaling is False:
            return basis | {"scaling": None}
        cutoff = basis.get("cutoff")
        if scaling is True and isinstance(cutoff, dict) and isinstance(cutoff.get("cutoff_angstrom"), int | float):
            return basis | {"scaling": radial_scaling(cutoff["cutoff_angstrom"])}
        return basis

    @model_validator(mode="after")
    def _of_one_sort(self) -> "SoapDescriptor":
        if self.multispectrum is not None and self.n_features is not None:
            raise ValueError("n_features selects from a power spectrum; a multispectrum has n_invariants of each order")
        if self.multispectrum is not None and self.multispectrum.equivariants:
            raise ValueError("multispectrum.equivariants: a kernel compares invariants only")
        return self


def radial_scaling(cutoff: float) -> dict[str, float | int]:
    """The scaling of a basis that has none of its own: far neighbours count less."""
    return {"rate": 1.0, "scale_angstrom": 0.5 * cutoff, "exponent": 4}


class PairDescriptor(Section):
    """`kind = "pair"`: Gaussian kernels of the distance for every pair of species.

    After the fit they are one splined pair potential.

    n_sparse: points, equidistant from start_angstrom to the cutoff. delta_ev: expected energy of a pair.
    """

    kind: Literal["pair"]
    cutoff_angstrom: float = Field(gt=0.1)
    smoothing_angstrom: float = Field(gt=0)
    start_angstrom: float = Field(default=1.0, ge=0.1)
    length_angstrom: float = Field(default=0.5, gt=0)
    delta_ev: float = Field(default=1.0, gt=0)
    n_sparse: int = Field(default=20, ge=2)


class Smoothness(Section):
    """Section `prior` of a cluster expansion: that weights fall with the degree of their functions.

    A weight has the standard deviation delta / (force * (1 + sum of (n + 1)^exponent + (l_weight l)^exponent)), in
    which force is the root mean square of the forces that the function alone makes in the training structures.
    """

    exponent: float = Field(default=1.0, ge=0, le=8)
    l_weight: float = Field(default=1.0, gt=0, le=8)
    delta_ev_per_angstrom: float = Field(default=1.0, gt=0)


class AceDescriptor(Section):
    """`kind = "ace"`: products of the neighbour density of points, the atomic cluster expansion.

    What is None is chosen by `defaults.complete` for the data.

    truncation: which products. prior: how weights are expected to fall.
    candidates: the functions of the truncation are chosen out of this many, by what the training structures need.
    contraction: of species to pseudo-species, each with all radial functions, or of the radial functions.
    spline_tolerance: how far splines may be from the radial functions; energies and forces are those of the splines.
    """

    kind: Literal["ace"]
    basis: PolynomialBasis | None = None
    contraction: ContractionConfig | None = None
    truncation: Truncation | None = None
    candidates: int | None = Field(default=None, ge=1, le=LARGEST)
    prior: Smoothness = Smoothness()
    spline_tolerance: float = Field(default=1e-3, ge=1e-12, le=1e-2)

    @model_validator(mode="after")
    def _can_be_contracted(self) -> "AceDescriptor":
        if self.contraction is not None and self.basis is not None and self.basis.by_pair:
            raise ValueError("contraction: needs lengths of the basis that are the same for all pairs of species")
        return self

    @model_validator(mode="after")
    def _are_more(self) -> "AceDescriptor":
        if self.truncation is not None:
            check_candidates(self.candidates, self.truncation.functions)
        return self


def check_candidates(candidates: int | None, functions: int) -> None:
    """`ValueError` if there are fewer candidates than functions."""
    if candidates is not None and candidates < functions:
        raise ValueError(f"candidates: {candidates} are fewer than the {functions} functions to be chosen among them")


Descriptor = Annotated[SoapDescriptor | PairDescriptor | AceDescriptor, Field(discriminator="kind")]


class CrossValidationConfig(Section):
    """Section [cross_validation]: sigmas of energies and forces are multiplied by these factors, and the best are kept.

    Every combination is fitted eight times without an eighth of the structures, whose errors decide.
    """

    energy_factors: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0)
    force_factors: tuple[float, ...] = (0.5, 1.0, 2.0)

    @field_validator("energy_factors", "force_factors")
    @classmethod
    def _positive(cls, factors: tuple[float, ...]) -> tuple[float, ...]:
        if not factors or min(factors) <= 0:
            raise ValueError("at least one factor is needed, all above zero")
        return factors


class TrainingConfig(Section):
    """Section [training] of a nonlinear model.

    iterations: of L-BFGS, at most. patience: those without a better prediction of the eighth of the structures that is
    left out, after which training ends.
    """

    iterations: int = Field(default=300, ge=1)
    patience: int = Field(default=40, ge=1)


class ModelConfig(Section):
    """What is fitted, whatever the data.

    model: `gap`, a sparse kernel model, or `ace`, an atomic cluster expansion; says what the default descriptors are.
    functions: of the default expansion, for each species; candidates: among which they are chosen, default as many.
    cutoff_angstrom: of the default descriptors; default from the data.
    descriptors: default two power spectra, see `defaults`.
    energies_ev: of isolated atoms, by symbol; those not given are those of isolated atoms in the data, or fitted.
    baseline: pair potentials that the model is added to. repulsion: whether every pair of species that has none gets
        a ZBL repulsion that ends at the shortest distance of the data.
    sigma: by group; "default" for all that are not named. Without any, they are chosen by cross-validation.
    solver: what holds the weights.
    embedding: makes a cluster expansion nonlinear; training: of it, which begins at the linear fit.
    seed: of random choices. max_candidates: environments among which sparse points are chosen, at random if more.
    """

    model: Literal["gap", "ace"] = "gap"
    functions: int = Field(default=1000, ge=1, le=LARGEST)
    candidates: int | None = Field(default=None, ge=1, le=LARGEST)
    cutoff_angstrom: float | None = Field(default=None, gt=1.0, le=12.0)
    descriptors: list[Descriptor] = Field(default_factory=list)
    baseline: list[Annotated[LennardJones | Zbl, Field(discriminator="form")]] = Field(default_factory=list)
    repulsion: bool = True
    energies_ev: dict[Element, float] = Field(default_factory=dict)
    sigma: dict[str, Sigma] = Field(default_factory=dict)
    cross_validation: CrossValidationConfig | None = None
    solver: Solver = Ridge()
    embedding: Embedding | None = None
    training: TrainingConfig = TrainingConfig()
    seed: int = Field(default=0, ge=0)
    max_candidates: int = Field(default=50_000, ge=1)

    @model_validator(mode="after")
    def _candidates_are_more(self) -> "ModelConfig":
        check_candidates(self.candidates, self.functions)
        if self.candidates is not None and self.model != "ace":
            raise ValueError('candidates: are functions of model = "ace"; kernel models have n_sparse and n_features')
        return self

    @model_validator(mode="after")
    def _expansions_are_embedded(self) -> "ModelConfig":
        if self.embedding is not None and (self.model != "ace" or any(d.kind == "pair" for d in self.descriptors)):
            raise ValueError('embedding: is for model = "ace" without descriptors of kind = "pair"')
        return self

    @model_validator(mode="after")
    def _nothing_is_without_effect(self) -> "ModelConfig":
        if "functions" in self.model_fields_set and self.model != "ace":
            raise ValueError('functions: are those of model = "ace"; kernel models have n_sparse and n_features')
        if "training" in self.model_fields_set and self.embedding is None:
            raise ValueError("training: is that of an embedding, and there is none")
        return self

    @model_validator(mode="after")
    def _of_one_kind(self) -> "ModelConfig":
        kinds = [descriptor.kind for descriptor in self.descriptors]
        allowed = {"gap": ("soap", "pair"), "ace": ("ace", "pair")}[self.model]
        wrong = sorted(set(kinds) - set(allowed))
        if wrong or kinds.count("ace") > 1:
            what = f'kind = "{wrong[0]}"' if wrong else "two of kind ace"
            raise ValueError(
                f'descriptors: {what} cannot be part of model = "{self.model}", whose descriptors are of the kinds '
                f"{' and '.join(allowed)}{', one of ace' if self.model == 'ace' else ''}"
            )
        return self

    def sigma_of(self, group: str) -> Sigma:
        """The expected errors of a group of structures."""
        return self.sigma.get(group, self.sigma.get("default", Sigma()))


class FitConfig(ModelConfig):
    """A fit: a model, its data, and where it goes.

    output: the model (.npz). report: folder for the table of errors, parity plots, the learning curve and the limits.
    """

    output: OutputPath
    report: OutputPath | None = None
    data: DataConfig

    @classmethod
    def of(cls, model: ModelConfig, **others: Any) -> "FitConfig":
        """The fit of a model, which has the keys that were given for it. others: output, data and so on."""
        given = {name: getattr(model, name) for name in ModelConfig.model_fields if name in model.model_fields_set}
        return cls(**given, **others)

    @field_validator("output")
    @classmethod
    def _is_npz(cls, path: Path) -> Path:
        if path.suffix != ".npz":
            raise ValueError("the name of a model ends in .npz")
        if not path.absolute().parent.is_dir():
            raise ValueError(f"there is no folder {path.absolute().parent}")
        return path

    @field_validator("report")
    @classmethod
    def _is_folder(cls, path: Path | None) -> Path | None:
        if path is not None and path.exists() and not path.is_dir():
            raise ValueError("is a file; the report is a folder")
        return path


def load(path: Path) -> FitConfig:
    """Reads and validates the configuration of a fit; `InputError` names every problem in it."""
    path = Path(path)
    return validated(FitConfig, read_toml(path), str(path), path.absolute().parent, written=True)

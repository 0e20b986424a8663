"""The key `contraction` in descriptors, in [expansion] and in [[cv]]: made from structures, or read from a file."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field, model_validator

from ..errors import InputError
from ..frame import Frame
from ..sections import Element, InputFile, Section
from .bases import AnyRadialBasis
from .contraction import Contraction, Covariance
from .neighbours import Selection

if TYPE_CHECKING:
    from .targets import Targets

OF_KIND = {"pca": ("mixed",), "pcovr": ("mixed", "gamma"), "alchemical": ("weights", "optimised")}
"""Keys that belong to some kinds only."""


class ContractionConfig(Section):
    """Contracts radial functions, or species, to the combinations that keep most of a set of structures."""

    kind: Literal["pca", "pcovr", "alchemical"] = Field(
        default="pca", description="principal components, those that predict energies too, or pseudo-species"
    )
    mixed: bool = Field(default=False, description="contract all species together: each function sees every species")
    q_max: int | None = Field(default=None, ge=1, description="functions, or pseudo-species, that are kept")
    residual_variance: float | None = Field(default=None, gt=0, lt=1, description="fraction that may be left out")
    gamma: float = Field(default=0.5, ge=0, le=1, description="weight of the variance, the rest is the energies'")
    weights: dict[Element, tuple[float, ...]] | None = Field(
        default=None, description="of each species in the pseudo-species"
    )
    optimised: bool = Field(default=False, description="pseudo-species are those of the best linear model of energies")
    structures: InputFile | None = Field(default=None, description="source of environments; default: those at hand")
    file: InputFile | None = Field(default=None, description="made by `forceserver basis`; replaces all other keys")

    @model_validator(mode="after")
    def _one_source(self) -> "ContractionConfig":
        others = sorted(self.model_fields_set - {"file"})
        if self.file is not None and others:
            raise ValueError(f"file already determines the contraction: leave out {', '.join(others)}, or file")
        if self.file is None and self.q_max is None and self.residual_variance is None and self.weights is None:
            raise ValueError("q_max, residual_variance or file is missing: how many functions to keep")
        return self

    @model_validator(mode="after")
    def _of_this_kind(self) -> "ContractionConfig":
        for kind, keys in OF_KIND.items():
            wrong = [key for key in keys if key in self.model_fields_set and key not in OF_KIND[self.kind]]
            if wrong:
                raise ValueError(f'{wrong[0]} belongs to kind = "{kind}", not to "{self.kind}"')
        if self.weights is not None and (self.q_max is not None or self.residual_variance is not None):
            raise ValueError("weights say how many pseudo-species there are: leave out q_max and residual_variance")
        if self.supervised and self.structures is not None:
            raise ValueError(
                "structures: what learns from energies takes those at hand; make a file by `forceserver basis`"
            )
        return self

    @property
    def supervised(self) -> bool:
        """Whether it learns from energies."""
        return self.kind == "pcovr" or self.optimised

    def make(
        self,
        basis: AnyRadialBasis,
        frames: Iterable[Frame],
        species: Sequence[int],
        *,
        energies: Sequence[float | None] | None = None,
        centres: Selection | None = None,
        neighbours: Selection | None = None,
        centre_contribution: bool = True,
        tolerance: float = 1e-8,
    ) -> Contraction:
        """The contraction for this basis and these species of neighbours; arguments as for `Covariance.of`.

        frames: used unless the section names structures or a file. energies: that of each (eV, of all atoms), or None.
        `InputError`: a file is damaged or for another basis, there are too few structures, or no energies.
        """
        if self.file is not None:
            from .contraction_file import load

            contraction = load(self.file)
            contraction.check(basis, species, str(self.file))
            return contraction.of_species(species)
        if self.structures is not None:
            frames = read_frames(self.structures)
        options: dict[str, Any] = {
            "centres": centres,
            "neighbours": neighbours,
            "centre_contribution": centre_contribution,
            "tolerance": tolerance,
        }
        if not self.supervised:
            return self._made(Covariance.of(basis, frames, species, **options), None, options)
        if energies is None:
            raise InputError(
                f"{self}: learns from energies, which are at hand in `forceserver fit` and `forceserver basis` only; "
                "make a file by the latter"
            )
        from .targets import Targets

        targets = Targets.of(frames := list(frames), energies)
        return self._made(Covariance.of(basis, frames, species, **options), targets, options)

    def _made(self, covariance: Covariance, targets: "Targets | None", options: dict[str, Any]) -> Contraction:
        """Of a covariance, and of energies if it learns from them."""
        count: dict[str, Any] = {"q_max": self.q_max, "residual_variance": self.residual_variance}
        if self.kind == "pca":
            return covariance.contraction(mixed=self.mixed, **count)
        if self.kind == "pcovr":
            from .supervised import pcovr

            assert targets is not None
            return pcovr(covariance, targets, gamma=self.gamma, mixed=self.mixed, **count, **options)
        from .alchemical import alchemical, given_weights, principal_weights

        if self.weights is not None:
            u = given_weights(self.weights, covariance.species)
        else:
            u = principal_weights(covariance, **count)
        if targets is not None:
            from .alchemical_model import optimise

            u = optimise(covariance, targets, u, **options).weights
        return alchemical(covariance, u)

    def __str__(self) -> str:
        """For people."""
        if self.file is not None:
            return f"contraction {self.file}"
        extra = "".join(f", {key}" for key in ("mixed", "optimised") if getattr(self, key))
        return f"contraction of kind {self.kind!r}{extra}"


def read_frames(path: Path) -> Iterable[Frame]:
    """The structures of a file, one after the other."""
    from ..structures import read_structures

    return map(Frame.from_ase, read_structures(path))

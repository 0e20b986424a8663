"""The key `multispectrum` of [expansion]: invariants and equivariants of higher body orders."""

from pydantic import Field, model_validator

from ..sections import InputFile, Section

MOST = 1_000_000
"""Largest number of products of an irrep; the second moments of more fit in no machine."""


class MultispectrumConfig(Section):
    """Iterated Clebsch-Gordan products of the density, contracted after each product (NICE)."""

    nu: int = Field(default=3, ge=2, le=4, description="largest order, neighbours seen at once; body order nu + 1")
    n_components: int | None = Field(default=None, ge=1, description="most components of each l and parity")
    n_invariants: int | None = Field(default=None, ge=1, description="most of each order; default: n_components")
    residual_variance: float | None = Field(default=None, gt=0, lt=1, description="fraction that may be left out")
    num_expand: int | None = Field(
        default=500, ge=1, le=MOST, description="products of each l and parity, those of the largest variance"
    )
    l_max: int | None = Field(default=None, ge=0, le=12, description="largest l of equivariants; default: as the basis")
    per_centre_species: bool = Field(default=False, description="separate components for each species of centres")
    equivariants: tuple[int, ...] = Field(default=(), description="degrees l of equivariants to write as well")
    structures: InputFile | None = Field(default=None, description="structures to learn from; default: those at hand")

    @model_validator(mode="after")
    def _enough(self) -> "MultispectrumConfig":
        if self.n_components is None and self.residual_variance is None:
            raise ValueError("n_components or residual_variance is missing: how many components to keep")
        if self.n_invariants is not None and self.n_invariants < (self.n_components or 0):
            raise ValueError("n_invariants must be at least n_components: the first ones are used for the next order")
        wrong = [l for l in self.equivariants if not 0 <= l <= 12]
        if wrong:
            raise ValueError(f"equivariants: l must be in 0 .. 12, got {', '.join(map(str, wrong))}")
        return self

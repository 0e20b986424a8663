"""All radial bases, as one type that TOML and models choose from by `kind`."""

from typing import Annotated

from pydantic import Field

from .dvr import DvrBasis
from .equispaced import EquispacedGaussianBasis
from .gto import GtoBasis
from .laplacian import LaplacianBasis

AnyRadialBasis = Annotated[GtoBasis | DvrBasis | LaplacianBasis | EquispacedGaussianBasis, Field(discriminator="kind")]

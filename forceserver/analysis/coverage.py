"""Whether uncertainties are right: how many errors are within one and two standard deviations."""

from dataclasses import dataclass

import numpy as np

from ..frame import Array

SHARES = ((1.0, 0.6827), (2.0, 0.9545))
"""Standard deviations, and the share of errors that is expected within them."""


@dataclass(frozen=True, eq=False)
class Coverage:
    """errors, spreads: (n,), in one unit; the spreads are standard deviations."""

    errors: Array
    spreads: Array

    def within(self, width: float) -> float:
        """The share of errors within `width` standard deviations."""
        return float(np.mean(np.abs(self.errors) <= width * self.spreads))

    def ratio(self) -> float:
        """Root of the mean squared error divided by that of the spreads."""
        return float(np.sqrt(np.mean(self.errors**2) / np.mean(self.spreads**2)))

    def summary(self) -> dict[str, float]:
        """JSON-serialisable."""
        shares = {f"within_{width:g}_sigma": round(self.within(width), 4) for width, _ in SHARES}
        return {"structures": len(self.errors), **shares}

    def __str__(self) -> str:
        one, two = (f"{100 * self.within(width):.0f} %" for width, _ in SHARES)
        return (
            f"{one} of {len(self.errors)} energy errors are within one standard deviation, {two} within two (68 and "
            f"95 % expected); rms error / rms deviation {self.ratio():.2f}"
        )

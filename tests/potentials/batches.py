"""What tests of potentials that compute batches share."""

import numpy as np
import pytest
from pydantic import TypeAdapter

from forceserver.potentials import PotentialConfig, build_potential


def build(frame, **keys):
    """The potential of a section with these keys."""
    return build_potential(TypeAdapter(PotentialConfig).validate_python(keys), frame)


def assert_same(results, expected, tolerance=1e-11):
    for one, other in zip(results, expected, strict=True):
        assert one.energy == pytest.approx(other.energy, abs=tolerance)
        np.testing.assert_allclose(one.forces, other.forces, atol=tolerance)
        np.testing.assert_allclose(one.virial, other.virial, atol=10 * tolerance)

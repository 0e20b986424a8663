"""Which features are kept."""

import numpy as np
import pytest
from skmatter.feature_selection import CUR, FPS

from forceserver.fit.selection import choose_features


@pytest.mark.parametrize(("how", "selector"), [("fps", FPS), ("cur", CUR)])
def test_features_are_those_that_scikit_matter_chooses_of_all_rows(how, selector):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 20)) @ rng.normal(size=(20, 20)) * rng.uniform(0.1, 3.0, 20)
    expected = selector(n_to_select=6).fit(x).selected_idx_
    np.testing.assert_array_equal(choose_features(x, 6, how), np.sort(expected))

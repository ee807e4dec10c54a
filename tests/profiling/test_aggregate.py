import warnings

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from cellml.profiling.aggregate import aggregate, group_codes, group_mean, group_median


def cells(seed=0, n=300, groups=17):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(n, 5)).astype(np.float32)
    values[rng.random(values.shape) < 0.1] = np.nan
    codes = rng.integers(-1, groups, n)
    codes[codes == 3] = 4  # group 3 has no cells
    values[codes == 5, 2] = np.nan  # group 5 has no number of feature 2
    return values, codes


@pytest.mark.parametrize(("ours", "numpy_s"), [(group_median, np.nanmedian),
                                               (group_mean, np.nanmean)])  # fmt: skip
def test_groups_equal_numpy(ours, numpy_s):
    values, codes = cells()
    found = ours(values, codes, n_groups=17)
    assert found.dtype == np.float32
    for g in range(17):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            expected = numpy_s(values[codes == g].astype(float), axis=0)
        np.testing.assert_allclose(found[g], expected, rtol=1e-6)
    assert np.isnan(found[3]).all()
    assert np.isnan(found[5, 2])


def test_by_hand():
    # Site 0: cells 1, 2, 9. Site 1: cell 4. Site 2 of the same well: empty. Site 3: cells 5, NaN.
    values = np.array([[1.0], [9.0], [4.0], [2.0], [5.0], [np.nan], [100.0]])
    sites = np.array([0, 0, 1, 0, 3, 3, -1])
    found = aggregate(values, sites, np.array([0, 0, 0, 1]), np.array([0, 0]))
    np.testing.assert_array_equal(found.site[:, 0], [2, 4, np.nan, 5])
    np.testing.assert_array_equal(found.well[:, 0], [3, 5])
    np.testing.assert_array_equal(found.treatment[:, 0], [4])
    np.testing.assert_array_equal(found.cells_per_site, [3, 1, 0, 1])


def test_order_of_cells_does_not_matter():
    values, codes = cells()
    order = np.random.default_rng(1).permutation(len(values))
    for ours in (group_median, group_mean):
        shuffled = ours(values[order], codes[order], n_groups=17)
        np.testing.assert_allclose(shuffled, ours(values, codes, n_groups=17), rtol=1e-5)


def test_controls_of_no_treatment_are_left_out():
    values = np.arange(4.0)[:, None]
    found = aggregate(values, np.arange(4), np.arange(4), np.array([-1, 1, 1, -1]))
    np.testing.assert_array_equal(found.treatment[:, 0], [np.nan, 1.5])


def test_codes_of_keys():
    names, codes = group_codes(np.array(["p2", "p10", "p2"]))
    np.testing.assert_array_equal(names, ["p10", "p2"])
    np.testing.assert_array_equal(codes, [1, 0, 1])


def test_empty_and_wrong():
    nothing = group_median(np.zeros((0, 3)), np.zeros(0, int), n_groups=2)
    assert np.isnan(nothing).all()
    assert nothing.shape == (2, 3)
    with pytest.raises(ValueError, match="code 2 found, expected below 2"):
        group_mean(np.zeros((1, 3)), np.array([2]), n_groups=2)
    with pytest.raises((ValueError, TypeCheckError)):
        group_mean(np.zeros((2, 3)), np.array([0]), n_groups=2)

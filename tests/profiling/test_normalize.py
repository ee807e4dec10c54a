import numpy as np
import pandas as pd
import pycytominer
import pytest
from jaxtyping import TypeCheckError
from scipy import stats

from cellml.profiling.normalize import normalise_profiles

METHODS = ("standardize", "robustize", "mad_robustize", "percentile")


def plates(seed=0):
    rng = np.random.default_rng(seed)
    plate = rng.permutation(np.repeat([7, 2, 4], [40, 60, 25]))
    values = rng.gamma(2, size=(125, 6)) * (1 + plate[:, None]) + 10 * plate[:, None]
    return values, plate, rng.random(125) < 0.4


def expected_centre_and_scale(rows, method):
    if method == "standardize":
        return rows.mean(0), rows.std(0)
    if method == "percentile":
        low, high = np.percentile(rows, [1, 99], axis=0)
        return low, high - low
    if method == "robustize":
        return np.median(rows, 0), stats.iqr(rows, axis=0)
    return np.median(rows, 0), stats.median_abs_deviation(rows, axis=0) * 1.4826


@pytest.mark.parametrize("method", METHODS)
def test_each_plate_against_its_controls(method):
    values, plate, controls = plates()
    found = normalise_profiles(values, method=method, plates=plate, controls=controls)
    np.testing.assert_array_equal(found.plates, [2, 4, 7])
    assert not found.floored.any()
    for code in (2, 4, 7):
        rows = plate == code
        centre, scale = expected_centre_and_scale(values[rows & controls], method)
        np.testing.assert_allclose(found.values[rows], (values[rows] - centre) / scale)


@pytest.mark.parametrize("method", METHODS)
def test_shift_and_scale_of_a_plate_vanish(method):
    values, plate, controls = plates()
    moved = np.where(plate[:, None] == 4, values * 3.7 + 11, values)
    first, second = (
        normalise_profiles(v, method=method, plates=plate, controls=controls).values
        for v in (values, moved)
    )
    np.testing.assert_allclose(first, second, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
def test_missing_numbers_change_nothing_else(method):
    values, plate, controls = plates()
    extra = np.full((9, 6), np.nan)
    extra[0, 1] = 3.0
    with_missing = np.concatenate([values, extra])
    found = normalise_profiles(
        with_missing,
        method=method,
        plates=np.concatenate([plate, np.full(9, 7)]),
        controls=np.concatenate([controls, np.arange(9) > 0]),
    )
    expected = normalise_profiles(values, method=method, plates=plate, controls=controls).values
    np.testing.assert_allclose(found.values[:125], expected)
    assert np.isnan(found.values[126:]).all()
    assert np.isfinite(found.values[125, 1])


def test_a_feature_without_spread_among_controls_does_not_explode():
    values = np.zeros((40, 3))
    controls = np.arange(40) < 20
    values[:, 0] = np.arange(40)
    values[20:, 1] = 1.0  # MAD of the controls is 0
    values[:, 2] = 0.1 + 0.2  # constant everywhere, not a round number
    found = normalise_profiles(values, controls=controls, floor=0.01)
    np.testing.assert_array_equal(found.floored, [[False, True, True]])
    np.testing.assert_allclose(found.values[20:, 1], 1 / 0.5)
    np.testing.assert_array_equal(found.values[:, 2], 0)
    assert found.scale[0, 2] == 1


def test_controls_that_are_all_missing():
    values = np.ones((4, 1))
    values[:2] = np.nan
    found = normalise_profiles(values, controls=np.arange(4) < 2)
    assert found.floored.all()
    assert np.isnan(found.values).all()


def test_dtype_is_kept_and_arguments_are_checked():
    values, plate, controls = plates()
    assert normalise_profiles(values.astype(np.float32)).values.dtype == np.float32
    with pytest.raises(ValueError, match="plate 4 has no controls"):
        normalise_profiles(values, plates=plate, controls=controls & (plate != 4))
    with pytest.raises(ValueError, match="method must be one of"):
        normalise_profiles(values, method="zscore")
    with pytest.raises(ValueError, match="floor"):
        normalise_profiles(values, floor=-1.0)
    with pytest.raises((ValueError, TypeCheckError)):
        normalise_profiles(values, plates=plate[1:])


@pytest.mark.parametrize("method", ["standardize", "robustize", "mad_robustize"])
def test_pycytominer_agrees(method):
    values, _, controls = plates()
    names = [f"Cells_{i}" for i in range(6)]
    table = pd.DataFrame(values, columns=names).assign(Metadata_c=controls)
    expected = pycytominer.normalize(
        table, features=names, meta_features=["Metadata_c"], samples="Metadata_c", method=method,
        mad_robustize_epsilon=0.0,
    )  # fmt: skip
    found = normalise_profiles(values, method=method, controls=controls).values
    np.testing.assert_allclose(found, expected[names].to_numpy(), rtol=1e-9, atol=1e-9)

"""Corrections fitted on wells: the parts they are made of, and that sites follow their wells."""

import numpy as np
import pytest

from cellml.profiling.correct import TVN, correct, fit_correction, selection_rules
from cellml.profiling.normalize import normalise_profiles
from cellml.profiling.sphering import control_spectrum, sphere
from cellml.profiling.tvn import tvn

NAMES = tuple("abcdef")


def _wells(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    plates = np.repeat([3, 7], 12)
    values = rng.normal(size=(24, 6)) * (1 + np.arange(6)) + plates[:, None] * 2.0
    return values, plates, np.tile(np.arange(12) < 5, 2)


def test_nothing_asked_changes_nothing():
    values, plates, controls = _wells()
    fitted = fit_correction(values, NAMES, plates=plates, controls=controls)
    np.testing.assert_array_equal(correct(values, plates, fitted), values)
    assert fitted.names == NAMES
    assert not fitted.dropped


def test_normalised_and_sphered_in_this_order():
    values, plates, controls = _wells()
    fitted = fit_correction(
        values,
        NAMES,
        plates=plates,
        controls=controls,
        normalise="standardize",
        sphering="ZCA",
        regularisation=0.1,
    )
    expected = normalise_profiles(values, method="standardize", plates=plates, controls=controls)
    spectrum = control_spectrum(expected.values[controls], method="ZCA")
    expected = sphere(expected.values, spectrum, method="ZCA", regularisation=0.1)
    np.testing.assert_allclose(correct(values, plates, fitted), expected, atol=1e-10)


@pytest.mark.parametrize("sphering", [None, "ZCA", "PCA"])
def test_the_mean_of_corrected_sites_is_the_corrected_well(sphering: str | None):
    values, plates, controls = _wells()
    fitted = fit_correction(
        values, NAMES, plates=plates, controls=controls, normalise="robustize", sphering=sphering
    )
    shift = np.random.default_rng(1).normal(size=values.shape)
    both = [correct(values + sign * shift, plates, fitted) for sign in (1, -1)]
    np.testing.assert_allclose((both[0] + both[1]) / 2, correct(values, plates, fitted), atol=1e-9)
    assert both[0].shape[1] == len(fitted.names)


def test_missing_numbers_are_dropped_or_filled_for_sphering_alone():
    values, plates, controls = _wells()
    values[:, 5] = np.nan
    values[:4, 4] = np.nan
    values[20, 0] = np.nan
    plain = fit_correction(values, NAMES, plates=plates, controls=controls)
    assert plain.dropped == {"no number": ("f",)}
    assert np.isnan(correct(values, plates, plain)).sum() == 5
    sphered = fit_correction(values, NAMES, plates=plates, controls=controls, sphering="ZCA")
    assert sphered.dropped == {"no number": ("f",), "often missing": ("e",)}
    assert sphered.n_filled == 1
    found = correct(values, plates, sphered)
    assert np.isfinite(found).all()
    values[20, 0] = np.median(values[controls & (plates == 7), 0])
    np.testing.assert_allclose(correct(values, plates, sphered), found)


def test_batches_are_aligned_for_wells_and_sites_alike():
    values, plates, controls = _wells()
    batches = np.where(np.arange(24) % 2, "odd", "even")
    fitted = fit_correction(
        values, NAMES, plates=plates, controls=controls, normalise="standardize", sphering=TVN,
        batches=batches, regularisation=1e-3,
    )  # fmt: skip
    normalised = normalise_profiles(values, method="standardize", plates=plates, controls=controls)
    expected = tvn(normalised.values, controls, (batches == "odd").astype(int), regularisation=1e-3)
    found = correct(values, plates, fitted, batches=batches)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    assert fitted.names == tuple(f"PC_{i + 1}" for i in range(6))
    both = [correct(values + sign, plates, fitted, batches=batches) for sign in (1, -1)]
    np.testing.assert_allclose((both[0] + both[1]) / 2, expected, atol=1e-9)
    with pytest.raises(ValueError, match="needs the batch"):
        correct(values, plates, fitted)
    with pytest.raises(ValueError, match="needs the batch"):
        fit_correction(values, NAMES, plates=plates, controls=controls, sphering=TVN)


def test_a_limit_of_missing_numbers_holds_without_sphering():
    values, plates, controls = _wells()
    values[:3, 1], values[0, 2] = np.nan, np.nan
    fitted = fit_correction(values, NAMES, plates=plates, controls=controls, max_missing=0.1)
    assert fitted.dropped == {"often missing": ("b",)}
    assert np.isnan(correct(values, plates, fitted)).sum() == 1


def test_rules_drop_by_name():
    values, plates, controls = _wells()
    values[:, 1] = 4.0
    values[:, 2] = values[:, 0] * 1.5 + 1
    values[3, 3] = 1e4
    for normalised in (False, True):
        fitted = fit_correction(
            values, NAMES, plates=plates, controls=controls, rules=selection_rules(normalised)
        )
        assert fitted.dropped["variance_threshold"] == ("b",)
        assert len({"a", "c"} & set(fitted.names)) == 1
        assert ("d" in fitted.names) != normalised


def test_rules_take_their_settings():
    values, plates, controls = _wells()
    values[:, 5] = np.where(np.arange(24) % 2, 30.0, -30.0)
    fitted = fit_correction(
        values, NAMES, plates=plates, controls=controls, rules=("noise_removal", "blocklist"),
        blocklist=["a"], groups=np.arange(24) // 6,
        rule_options={"noise_removal": {"max_sd": 20.0}},
    )  # fmt: skip
    assert fitted.dropped == {"noise_removal": ("f",), "blocklist": ("a",)}


def test_what_cannot_be_fitted():
    values, plates, controls = _wells()
    with pytest.raises(ValueError, match="no feature is left of 6"):
        fit_correction(values * np.nan, NAMES, plates=plates, controls=controls)
    fitted = fit_correction(values, NAMES, plates=plates, controls=controls)
    with pytest.raises(ValueError, match="a plate was not"):
        correct(values, plates + 1, fitted)

import numpy as np
import pandas as pd
import pytest
import scipy.linalg
from pycytominer.operations.transform import Spherize

from cellml.profiling.sphering import control_spectrum, sphere, sphere_sweep


def controls_and_profiles(n=60, f=8, m=25, seed=0):
    """Controls with correlated features of very different scales."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(f, f)) * np.geomspace(1, 100, f)
    return rng.normal(size=(n, f)) @ mix + 40, rng.normal(size=(m, f)) @ mix + 45


def by_formula(profiles, controls, regularisation, *, power=-0.5, centred=True):
    """The formula as it stands, with all eigenvectors."""
    mean = controls.mean(0) if centred else 0.0
    rows = controls - mean
    # The singular values of the rows: those of the covariance are lost in rounding below 1e-16.
    _, singular, vectors = np.linalg.svd(rows)
    values = np.zeros(rows.shape[1])
    values[: singular.size] = singular**2 / len(rows)
    values[len(rows) - int(centred) :] = 0
    weights, vectors = (values + regularisation) ** power, vectors.T
    return (profiles - mean) @ (vectors * weights) @ vectors.T


def whiten(controls, profiles, method, regularisation, **options):
    return sphere(
        profiles,
        control_spectrum(controls, method=method, **options),
        method=method,
        regularisation=regularisation,
    )


@pytest.mark.parametrize("method", ["ZCA", "PCA", "ZCA-cor", "PCA-cor"])
def test_controls_become_white(method):
    controls, _ = controls_and_profiles()
    white = whiten(controls, controls, method, 0.0)
    np.testing.assert_allclose(white.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(white.T @ white / len(white), np.eye(8), atol=1e-9)


@pytest.mark.parametrize("low_rank", [True, False])
@pytest.mark.parametrize("shape", [(60, 8), (9, 40), (40, 40)])
@pytest.mark.parametrize("regularisation", [1e-8, 1e-2, 10.0])
def test_zca_equals_the_formula(shape, low_rank, regularisation):
    controls, profiles = controls_and_profiles(*shape)
    found = whiten(controls, profiles, "ZCA", regularisation, low_rank=low_rank)
    expected = by_formula(profiles, controls, regularisation)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("shape", [(60, 8), (9, 40)])
def test_printed_formula_is_an_option(shape):
    controls, profiles = controls_and_profiles(*shape)
    found = whiten(controls, profiles, "dissertation-printed", 0.5)
    expected = by_formula(profiles, controls, 0.5, power=-1.0, centred=False)
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-9 * np.abs(expected).max())
    assert not np.allclose(found, whiten(controls, profiles, "ZCA", 0.5))


def test_by_hand():
    # Variances 4 and 1 along the axes; lambda 5 makes them 9 and 6.
    controls = np.array([[2.0, 1.0], [2.0, -1.0], [-2.0, 1.0], [-2.0, -1.0]])
    controls += [10, 20]
    found = whiten(controls, np.array([[13.0, 26.0]]), "ZCA", 5.0)
    np.testing.assert_allclose(found, [[3 / 3, 6 / np.sqrt(6)]])
    pca = whiten(controls, np.array([[13.0, 26.0]]), "PCA", 5.0)
    np.testing.assert_allclose(pca, [[3 / 3, 6 / np.sqrt(6)]])
    correlation = whiten(controls, np.array([[13.0, 26.0]]), "ZCA-cor", 0.0)
    np.testing.assert_allclose(correlation, [[3 / 2, 6 / 1]])


def test_pca_is_zca_turned():
    controls, profiles = controls_and_profiles()
    zca, pca = (whiten(controls, profiles, method, 1e-2) for method in ("ZCA", "PCA"))
    np.testing.assert_allclose(zca @ zca.T, pca @ pca.T, rtol=1e-7, atol=1e-7)
    low, full = (
        whiten(controls, profiles, "PCA", 1e-2, low_rank=low_rank) for low_rank in (True, False)
    )
    np.testing.assert_allclose(low, full, rtol=1e-6, atol=1e-6)  # signs too


def test_zero_regularisation_projects_out_what_controls_do_not_do():
    controls, _ = controls_and_profiles(9, 40)
    centred = controls - controls.mean(0)
    outside = scipy.linalg.null_space(centred)[:, :3].T
    found = whiten(controls, np.concatenate([controls, controls.mean(0) + outside]), "ZCA", 0.0)
    np.testing.assert_allclose(found[9:], 0, atol=1e-6)
    expected = centred @ np.linalg.pinv(scipy.linalg.sqrtm(centred.T @ centred / 9).real, 1e-7)
    np.testing.assert_allclose(found[:9], expected, atol=1e-5)
    components = whiten(controls, controls, "PCA", 0.0)
    assert components.shape == (9, 8)


def test_a_sweep_decomposes_once_and_yields_all():
    controls, profiles = controls_and_profiles()
    swept = dict(sphere_sweep(profiles, controls, (None, 1e-2, 1.0)))
    assert swept[None] is profiles
    for value in (1e-2, 1.0):
        np.testing.assert_array_equal(swept[value], whiten(controls, profiles, "ZCA", value))


def test_averaging_wells_commutes_with_sphering():
    controls, profiles = controls_and_profiles()
    after = whiten(controls, profiles, "ZCA", 1e-2).mean(0)
    before = whiten(controls, profiles.mean(0, keepdims=True), "ZCA", 1e-2)[0]
    np.testing.assert_allclose(after, before, rtol=1e-8, atol=1e-9)


def test_many_profiles_are_moved_in_parts():
    controls, profiles = controls_and_profiles(m=2500)
    found = whiten(controls, profiles, "ZCA", 1e-2)
    np.testing.assert_allclose(found, by_formula(profiles, controls, 1e-2), rtol=1e-6, atol=1e-8)
    single = whiten(controls, profiles.astype(np.float32), "ZCA", 1e-2)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, found, rtol=1e-3, atol=1e-3)


def test_errors():
    controls, profiles = controls_and_profiles()
    spectrum = control_spectrum(controls)
    with pytest.raises(ValueError, match="method must be one of"):
        control_spectrum(controls, method="zca")
    with pytest.raises(ValueError, match="regularisation"):
        sphere(profiles, spectrum, regularisation=-1.0)
    with pytest.raises(ValueError, match="regularisation"):
        sphere(profiles, spectrum, regularisation=float("nan"))
    with pytest.raises(ValueError, match="8 features, found 7"):
        sphere(profiles[:, 1:], spectrum)
    with pytest.raises(ValueError, match="at least 2 controls"):
        control_spectrum(controls[:1])
    constant = controls.copy()
    constant[:, 3] = 0.1
    with pytest.raises(ValueError, match="column 3"):
        control_spectrum(constant, method="PCA-cor")
    constant[2, 2] = np.nan
    with pytest.raises(ValueError, match="not finite"):
        control_spectrum(constant)


@pytest.mark.parametrize("method", ["ZCA", "PCA", "ZCA-cor", "PCA-cor"])
def test_pycytominer_agrees_without_regularisation(method):
    controls, profiles = controls_and_profiles()
    peer = Spherize(epsilon=0.0, method=method, return_numpy=True)
    expected = peer.fit(pd.DataFrame(controls)).transform(pd.DataFrame(profiles))
    expected = expected * np.sqrt(len(controls) / (len(controls) - 1))  # its covariance is over n-1
    found = whiten(controls, profiles, method, 0.0)
    if method.startswith("PCA"):
        found, expected = np.abs(found), np.abs(expected)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-8)

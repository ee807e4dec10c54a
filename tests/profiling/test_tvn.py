import numpy as np
import pytest
import scipy.linalg

from cellml.profiling.tvn import apply_tvn, fit_tvn, tvn, tvn_sweep


def screen(seed=2, f=4, n=360):
    """Three batches that stretch different directions; every other profile is a control."""
    rng = np.random.default_rng(seed)
    batch = np.arange(n) * 3 // n
    stretch = np.ones((3, f))
    stretch[1, 0], stretch[2, 1], stretch[1, -1] = 3, 4, 0.5
    return rng.normal(size=(n, f)) * stretch[batch] + 5, np.arange(n) % 2 == 0, batch


def by_formula(profiles, controls, batch, regularisation, alignment):
    """The same with whole covariance matrices and their roots."""
    centred = profiles - profiles[controls].mean(0)
    covariance = np.cov(centred[controls].T, ddof=0)
    values, vectors = np.linalg.eigh(covariance)
    kept = values > 1e-12 * values.max()
    white = centred @ vectors[:, kept] / np.sqrt(values[kept] + regularisation)

    def root(rows):
        found = np.cov(rows.T, ddof=0) + alignment * np.eye(rows.shape[1])
        return np.real(scipy.linalg.sqrtm(found))

    result = np.empty_like(white)
    for b in np.unique(batch):
        whiten = np.linalg.inv(root(white[controls & (batch == b)]))
        result[batch == b] = white[batch == b] @ whiten @ root(white[controls])
    return result


@pytest.mark.parametrize(("f", "n"), [(4, 360), (30, 48)])
def test_tvn_is_the_formula_also_where_controls_are_few(f, n):
    profiles, controls, batch = screen(f=f, n=n)
    found = tvn(profiles, controls, batch, regularisation=1e-2)
    expected = by_formula(profiles, controls, batch, 1e-2, 1.0)
    # components are free in their order and sign, distances between profiles are not
    np.testing.assert_allclose(found @ found.T, expected @ expected.T, rtol=1e-7, atol=1e-8)


def test_tvn_aligns_the_controls_of_batches():
    profiles, controls, batch = screen()
    found = tvn(profiles, controls, batch, alignment=1e-9)
    for b in range(3):
        covariance = np.cov(found[controls & (batch == b)].T, ddof=0)
        np.testing.assert_allclose(covariance, np.eye(4), atol=1e-4)
    before = np.cov(profiles[controls & (batch == 2)].T, ddof=0)
    assert before[1, 1] > 9


def test_what_was_fitted_on_some_profiles_moves_others():
    profiles, controls, batch = screen()
    names = np.array(["a", "b", "c"])[batch]
    fitted = fit_tvn(profiles[controls], names[controls], regularisation=1e-2)
    some = np.arange(5, 300, 7)
    found = apply_tvn(profiles[some], names[some], fitted)
    expected = tvn(profiles, controls, batch, regularisation=1e-2)[some]
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    sweep = dict(tvn_sweep(profiles, controls, names, (None, 1e-2)))
    np.testing.assert_allclose(sweep[1e-2][some], expected, rtol=1e-9, atol=1e-9)
    assert sweep[None] is profiles


def test_errors():
    profiles, controls, batch = screen()
    with pytest.raises(ValueError, match="batch 1 has no controls"):
        tvn(profiles, controls & (batch != 1), batch)
    with pytest.raises(ValueError, match="alignment must be above 0"):
        tvn(profiles, controls, batch, alignment=0.0)

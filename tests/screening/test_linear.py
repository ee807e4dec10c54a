import numpy as np
import pytest
from scipy.optimize import minimize

from cellml.screening.linear import fit_linear


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    bits = (rng.random((40, 6)) < 0.4).astype(np.uint8)
    labels = (bits[:, :3] ^ (rng.random((40, 3)) < 0.1)).astype(np.float64)
    labels[rng.random((40, 3)) < 0.2] = np.nan
    test = np.arange(40) % 4 == 0
    return bits, labels, test


def test_probabilities_minimise_the_penalised_loss(data):
    bits, labels, test = data
    found = fit_linear(bits, labels, train=~test, test=test, regularisation=0.7)
    assert np.isnan(found[~test]).all()
    for assay in range(3):
        known = ~test & ~np.isnan(labels[:, assay])
        x = np.c_[bits[known], np.ones(known.sum())].astype(float)
        sign = 2 * labels[known, assay] - 1

        def loss(w, x=x, sign=sign):  # liblinear penalises the intercept, too
            return 0.7 * np.logaddexp(0, -sign * (x @ w)).sum() + w @ w / 2

        w = minimize(loss, np.zeros(7)).x
        expected = 1 / (1 + np.exp(-(np.c_[bits[test], np.ones(test.sum())] @ w)))
        np.testing.assert_allclose(found[test, assay], expected, atol=2e-3)


def test_assays_with_one_class_or_none_and_labels_of_the_test_side(data):
    bits, labels, test = data
    labels[~test, 0] = 1.0
    labels[~test, 1] = np.nan
    calls = []
    found = fit_linear(
        bits,
        labels,
        train=~test,
        test=test,
        progress=lambda done, total: calls.append((done, total)),
    )
    assert (found[test, 0] == 1).all()
    assert np.isnan(found[test, 1]).all()
    assert calls == [(1, 3), (2, 3), (3, 3)]
    labels[test] = 1 - labels[test]
    again = fit_linear(bits, labels, train=~test, test=test)
    np.testing.assert_array_equal(found, again)


def test_sides_overlap_and_options(data):
    bits, labels, test = data
    with pytest.raises(ValueError, match="compound 0 is in training and in test"):
        fit_linear(bits, labels, train=test, test=test)
    with pytest.raises(ValueError, match="above 0"):
        fit_linear(bits, labels, train=~test, test=test, regularisation=0.0)

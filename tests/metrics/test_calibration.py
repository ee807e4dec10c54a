import jax
import numpy as np
import pytest
from scipy import stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from cellml.metrics.calibration import (
    LEVELS,
    ReliabilityBins,
    brier_score,
    equal_count_edges,
    even_edges,
    expected_calibration_error,
    interval_coverage,
    reliability_bins,
    spread_bins,
    spread_error,
    spread_rank_correlation,
)


@pytest.fixture(scope="module")
def case():
    """Probabilities that are too bold, of five assays, the last one never tested."""
    rng = np.random.default_rng(0)
    truth = rng.beta(1, 2, (400, 5))
    labels = (rng.random(truth.shape) < truth).astype(np.float32)
    labels[rng.random(truth.shape) < 0.4] = np.nan
    labels[:, 4] = np.nan
    bold = 1 / (1 + ((1 - truth) / truth) ** 2)
    bold[rng.random(truth.shape) < 0.05] = np.nan
    return labels, bold.astype(np.float32)


def known(labels, p, j):
    rows = ~np.isnan(labels[:, j]) & ~np.isnan(p[:, j])
    return labels[rows, j], p[rows, j]


@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_bins_equal_scikit_learns_curve_assay_by_assay(case, strategy):
    labels, p = case
    for j in range(4):
        y, q = known(labels, p, j)
        edges = even_edges(8) if strategy == "uniform" else equal_count_edges(q, 8)
        found = reliability_bins(labels[:, [j]], p[:, [j]], edges)
        expected = calibration_curve(y, q, n_bins=8, strategy=strategy)
        some = np.asarray(found.count)[0] > 0
        count = np.asarray(found.count)[0][some]
        np.testing.assert_allclose(np.asarray(found.observed)[0][some] / count, expected[0], 1e-5)
        np.testing.assert_allclose(np.asarray(found.predicted)[0][some] / count, expected[1], 1e-5)


def test_error_and_brier_equal_loops(case):
    labels, p = case
    bins = reliability_bins(labels, p, even_edges(10))
    error, brier = expected_calibration_error(bins), np.asarray(brier_score(labels, p))
    for j in range(4):
        y, q = known(labels, p, j)
        total = 0.0
        for b in range(10):
            inside = (q > np.float32(b / 10)) & (q <= np.float32((b + 1) / 10))
            if inside.any():
                total += inside.mean() * abs(y[inside].mean() - q[inside].mean())
        assert error[j] == pytest.approx(total, abs=1e-6)
        assert brier[j] == pytest.approx(brier_score_loss(y, q), abs=1e-6)
    assert error[:4].min() > 0.03  # bold, and it shows
    assert np.isnan(error[4])
    assert np.isnan(brier[4])


def test_pooled_bins_are_those_of_all_readouts_and_by_hand(case):
    labels, p = case
    edges = equal_count_edges(p, 5)
    whole = reliability_bins(labels.reshape(-1, 1), p.reshape(-1, 1), edges)
    pooled = reliability_bins(labels, p, edges).pooled()
    np.testing.assert_array_equal(pooled.count, whole.count)
    np.testing.assert_allclose(pooled.predicted, whole.predicted, rtol=1e-5)
    # Two readouts of .25 with a hit and two of .75 with a hit: 1/4 away, both.
    hand = np.array([[0.25, 0.25, 0.75, 0.75]], np.float32).T
    bins = reliability_bins(np.array([[0, 1, 0, 1]], np.float32).T, hand, even_edges(2))
    assert isinstance(bins, ReliabilityBins)
    assert expected_calibration_error(bins) == pytest.approx([0.25])
    assert np.asarray(bins.count).tolist() == [[2, 2]]


def test_edges_hold_equal_numbers_and_survive_ties():
    p = np.concatenate([np.zeros(60), np.linspace(0.01, 0.2, 40)]).astype(np.float32)
    edges = equal_count_edges(p, 4)
    assert edges[0] == 0
    assert edges[-1] == 1
    assert (np.diff(edges) > 0).all()
    assert len(edges) == 3  # most of the predictions tie at 0
    assert equal_count_edges(np.full(3, np.nan, np.float32)).tolist() == [0, 1]
    everything = reliability_bins(np.ones((100, 1), np.float32), p[:, None], edges)
    assert np.asarray(everything.count).sum() == 100


@pytest.fixture(scope="module")
def honest():
    """Errors drawn from the spread that is predicted; a fifth of the readouts is missing."""
    rng = np.random.default_rng(1)
    spread = rng.uniform(0.5, 3, (4000, 2)).astype(np.float32)
    predicted = rng.normal(size=spread.shape).astype(np.float32)
    labels = (predicted + spread * rng.normal(size=spread.shape)).astype(np.float32)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    return labels, predicted, spread


def test_an_honest_spread_is_found_honest_and_half_of_it_is_not(honest):
    labels, predicted, spread = honest
    assert spread_error(spread_bins(labels, predicted, spread)).max() < 0.07
    half = spread_bins(labels, predicted, spread / 2)
    np.testing.assert_allclose(spread_error(half), 1, atol=0.1)
    covered = interval_coverage(labels, predicted, spread)
    np.testing.assert_allclose(covered, np.tile(LEVELS, (2, 1)), atol=0.025)
    narrow = interval_coverage(labels, predicted, spread / 2)
    expected = 2 * stats.norm.cdf(stats.norm.ppf((1 + np.array(LEVELS)) / 2) / 2) - 1
    np.testing.assert_allclose(narrow, np.tile(expected, (2, 1)), atol=0.025)


def test_spread_bins_equal_a_loop(honest):
    labels, predicted, spread = honest
    labels = np.concatenate([labels[:100], np.full((100, 1), np.nan, np.float32)], axis=1)
    predicted, spread = (np.repeat(x[:100], [1, 2], axis=1) for x in (predicted, spread))
    found = spread_bins(labels, predicted, spread, n_bins=4)
    ranks = spread_rank_correlation(labels, predicted, spread)
    for j in range(2):
        rows = np.flatnonzero(~np.isnan(labels[:, j]))
        rows = rows[np.argsort(spread[rows, j])]
        error = np.abs(predicted[rows, j] - labels[rows, j])
        assert float(ranks[j]) == pytest.approx(
            stats.spearmanr(error, spread[rows, j])[0], abs=1e-5
        )
        place = np.floor((np.arange(len(rows)) + 0.5) / len(rows) * 4).astype(int)
        for b in range(4):
            mine = rows[place == b]
            assert int(found.count[j, b]) == len(mine)
            root = np.sqrt(np.mean((predicted[mine, j] - labels[mine, j]) ** 2))
            assert float(found.error[j, b]) == pytest.approx(root, rel=1e-5)
            root = np.sqrt(np.mean(spread[mine, j] ** 2))
            assert float(found.spread[j, b]) == pytest.approx(root, rel=1e-5)
    assert np.isnan(spread_error(found)[2])
    assert np.isnan(np.asarray(ranks)[2])
    # Of a single model every spread is 0: no bin can be judged.
    assert np.isnan(spread_error(spread_bins(labels, predicted, 0 * spread, n_bins=4))).all()


def test_order_and_missing_rows_change_nothing_and_jit_is_eager(case):
    labels, p = case
    edges = even_edges(5)
    found = reliability_bins(labels, p, edges)
    order = np.random.default_rng(2).permutation(len(labels))
    more = np.concatenate([labels[order], np.full((7, 5), np.nan, np.float32)])
    again = reliability_bins(more, np.concatenate([p[order], np.ones((7, 5), np.float32)]), edges)
    with jax.disable_jit():
        eager = reliability_bins(labels, p, edges)
    for a, b, c in zip(found, again, eager, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)
        np.testing.assert_allclose(a, c, rtol=1e-5)
    with pytest.raises(ValueError, match="levels must lie"):
        interval_coverage(labels, p, p, levels=(0.5, 1.0))

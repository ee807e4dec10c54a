import itertools
import math

import numpy as np
import pytest
from scipy import stats

from cellml.metrics.replicates import null_medians, replicate_reproducibility
from cellml.metrics.significance import (
    ap_of_places,
    ap_p_values,
    false_discovery_rate,
    is_exact,
    map_p_values,
    null_ap,
    random_places,
)
from tests.metrics import retrieval_oracles as oracles


def test_average_precision_of_places_equals_loops():
    relevant = [0, 1, 0, 1, 1, 0]
    found = ap_of_places(np.array([[2, 4, 5]]))[0]
    assert found == pytest.approx(oracles.average_precision(relevant))


def test_enumerated_null_is_every_outcome():
    null = null_ap(0, n_right=3, n_candidates=7, size=1)
    assert null.size == math.comb(7, 3)
    lists = [[int(i in c) for i in range(7)] for c in itertools.combinations(range(7), 3)]
    expected = [oracles.average_precision(x) for x in lists]
    np.testing.assert_allclose(np.sort(null), np.sort(expected))


def test_p_values_by_hand():
    # One right answer among four: AP 1, 1/2, 1/3, 1/4 with a quarter each. Ties count.
    ap = np.array([1, 1 / 2, 1 / 3, 1 / 4, np.nan], np.float32)
    p = ap_p_values(0, ap, np.array([1] * 5), np.array([4] * 5))
    np.testing.assert_allclose(p, [0.25, 0.5, 0.75, 1, np.nan])
    none = ap_p_values(0, np.array([np.nan]), np.array([0]), np.array([4]))
    assert np.isnan(none[0])


def test_sampled_p_values_approach_the_exact_ones():
    null = null_ap(0, n_right=3, n_candidates=60, size=1)
    assert is_exact(3, 60)
    rng = np.random.default_rng(0)
    sampled = ap_of_places(random_places(rng, 3, 60, 40_000))
    for q in (0.5, 0.9, 0.99):
        limit = np.quantile(null, q)
        assert (sampled >= limit).mean() == pytest.approx((null >= limit).mean(), abs=0.01)
    assert not is_exact(20, 9215)
    p = ap_p_values(1, np.array([1.0, 1e-6]), np.array([20, 20]), np.array([9215, 9215]), size=99)
    np.testing.assert_allclose(p, [0.01, 1])  # never 0


@pytest.mark.parametrize(("n_right", "n"), [(2, 50), (30, 80), (5, 5)])
def test_places_are_uniform_sets(n_right, n):
    places = random_places(np.random.default_rng(2), n_right, n, 4000)
    assert places.shape == (4000, n_right)
    assert places.min() >= 1
    assert places.max() <= n
    assert (np.diff(places, axis=1) > 0).all()
    count = np.bincount(places.ravel(), minlength=n + 1)[1:]
    expected = 4000 * n_right / n
    assert np.abs(count - expected).max() <= 6 * np.sqrt(expected)


def test_p_values_are_uniform_under_the_null():
    rng = np.random.default_rng(5)
    ap = ap_of_places(random_places(rng, 12, 400, 2000)).astype(np.float32)
    p = ap_p_values(0, ap, np.full(2000, 12), np.full(2000, 400), size=2000)
    assert stats.kstest(p, "uniform").statistic < 0.05


def test_groups_average_independent_members():
    rng = np.random.default_rng(6)
    ap = ap_of_places(random_places(rng, 3, 200, 900)).reshape(300, 3)
    codes, mean, p = map_p_values(
        0, ap.ravel(), np.full(900, 3), np.full(900, 200), np.repeat(np.arange(300), 3), size=500
    )
    np.testing.assert_array_equal(codes, np.arange(300))
    np.testing.assert_allclose(mean, ap.mean(1))
    assert stats.kstest(p, "uniform").statistic < 0.1  # a shared null would give 0.2 and more
    undefined = map_p_values(0, np.array([np.nan]), np.array([0]), np.array([5]), np.array([7]))
    assert np.isnan(undefined[1]).all()


def test_groups_are_exact_where_all_joint_outcomes_can_be_counted():
    ap, right, n = np.array([0.5, 1.0, 0.7]), np.array([1, 2, 2]), np.array([4, 4, 3])
    found = map_p_values(0, ap, right, n, np.array([5, 5, 5]), size=7)[2]
    lists = [
        [oracles.average_precision([int(i in c) for i in range(m)]) for c in places]
        for r, m in zip(right, n, strict=True)
        for places in [list(itertools.combinations(range(m), r))]
    ]
    sums = [sum(outcome) for outcome in itertools.product(*lists)]
    assert len(sums) == 4 * 6 * 3
    assert found[0] == pytest.approx(np.mean([x >= ap.sum() - 1e-9 for x in sums]))
    # a group of one query is that query
    alone = map_p_values(0, ap, right, n, np.arange(3), size=7)[2]
    np.testing.assert_array_equal(alone, ap_p_values(0, ap, right, n))
    # too many outcomes together, though each null by itself could be enumerated
    many = map_p_values(0, np.ones(3), np.full(3, 2), np.full(3, 60), np.zeros(3, int), size=9)[2]
    assert many[0] == pytest.approx(0.1)


def test_false_discovery_rate():
    p = np.array([0.01, 0.04, np.nan, 0.03, 0.9, 0.04])
    found = false_discovery_rate(p)
    tests = p[~np.isnan(p)]
    expected = stats.false_discovery_control(tests)
    np.testing.assert_allclose(found[~np.isnan(p)], expected)
    assert np.isnan(found[2])
    by_hand = false_discovery_rate(np.array([0.02, 0.01]))  # .01 * 2 / 1, .02 * 2 / 2
    np.testing.assert_allclose(by_hand, [0.02, 0.02])
    assert false_discovery_rate(np.array([])).size == 0
    with pytest.raises(ValueError, match="within"):
        false_discovery_rate(np.array([1.1]))


def test_seeds_and_counts_give_different_samples():
    first = null_ap(0, n_right=9, n_candidates=99, size=50)
    np.testing.assert_array_equal(first, null_ap(0, n_right=9, n_candidates=99, size=50))
    assert not np.array_equal(first, null_ap(1, n_right=9, n_candidates=99, size=50))
    with pytest.raises(ValueError, match="n_right"):
        null_ap(0, n_right=3, n_candidates=2, size=9)


def test_replicates_equal_loops():
    rng = np.random.default_rng(7)
    groups = np.array([4, 4, 4, 2, 2, 9, -1, *range(10, 40)])
    profiles = rng.normal(size=(groups.size, 20)) + 5
    profiles[1] = profiles[0] * 3 + 1  # correlated perfectly with the first of its group
    found = replicate_reproducibility(0, profiles, groups, n_null=300)
    np.testing.assert_array_equal(found.group, [2, 4])
    np.testing.assert_array_equal(found.n_replicates, [2, 3])
    for code, median in zip(found.group, found.median, strict=True):
        rows = profiles[groups == code]
        pairs = [np.corrcoef(a, b)[0, 1] for a, b in itertools.combinations(rows, 2)]
        assert median == pytest.approx(np.median(pairs))
    cosine = replicate_reproducibility(0, profiles, groups, centred=False, n_null=9)
    pairs = [oracles.cosine(a, b) for a, b in itertools.combinations(profiles[:3], 2)]
    assert cosine.median[1] == pytest.approx(np.median(pairs))


def test_replicates_are_told_from_chance():
    rng = np.random.default_rng(8)
    groups = np.repeat(np.arange(60), 4)
    noise = rng.normal(size=(240, 50))
    chance = replicate_reproducibility(1, noise, groups)
    assert chance.share == pytest.approx(0.05, abs=0.08)
    signal = np.repeat(rng.normal(size=(60, 50)), 4, 0)
    assert replicate_reproducibility(1, noise + signal, groups).share > 0.95


def test_null_sets_have_no_two_of_a_group():
    rows = np.eye(6)[[0, 0, 1, 2, 2, 2]]
    null = null_medians(0, rows, np.array([0, 0, 1, 2, 2, 2]), n_members=3, n_null=50)
    np.testing.assert_array_equal(null, 0)  # replicates would be similar 1
    with pytest.raises(ValueError, match="cannot be drawn from 3"):
        null_medians(0, rows, np.array([0, 0, 1, 2, 2, 2]), n_members=4, n_null=50)

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import TypeCheckError

from cellml.metrics.ranking import (
    ap_interpolated,
    ap_ranking,
    first_rank,
    interpolated_precision,
    precision_at_k,
    precision_steps,
)
from cellml.metrics.ranks import cosine_similarity, rank_answers, top_count, unit_rows
from tests.metrics import retrieval_oracles as oracles

REFUSED = (ValueError, TypeCheckError)  # the import hook comes first where shapes differ
TIES = ("threshold", "expected", "pessimistic", "optimistic")


def ranks_of(similarity, relevant, **options):
    """Ranks of one or more lists, with padding in odd places and a profile that is not allowed."""
    similarity, relevant = np.atleast_2d(similarity), np.atleast_2d(relevant)
    q, n = similarity.shape
    lists = np.full((q, n + 2), -1, np.int32)
    for i, row in enumerate(relevant):
        right = np.flatnonzero(row)[::-1]
        lists[i, 1 : 1 + right.size] = right
    similarity = np.concatenate([similarity, np.full((q, 1), 9.0)], 1).astype(np.float32)
    allowed = np.ones((q, n + 1), bool)
    allowed[:, -1] = False  # the most similar of all, did it count
    return rank_answers(jnp.array(similarity), jnp.array(allowed), jnp.array(lists), **options)


def random_lists(seed, q=6, n=9, distinct=None):
    rng = np.random.default_rng(seed)
    similarity = rng.permuted(np.tile(np.arange(n) / n, (q, 1)), axis=1)
    if distinct:
        similarity = rng.integers(0, distinct, (q, n)) / distinct
    relevant = rng.random((q, n)) < 0.4
    relevant[:, 0] |= ~relevant.any(1)
    return similarity, relevant.astype(int)


def in_order(similarity, relevant):
    return [relevant[i] for i in np.argsort(-similarity, kind="stable")]


def test_by_hand():
    # Right answers at places 1, 4 and 5 of 6.
    ranks = ranks_of([[0.9, 0.8, 0.7, 0.6, 0.5, 0.4]], [[1, 0, 0, 1, 1, 0]])
    assert ap_ranking(ranks)[0] == pytest.approx((1 + 2 / 4 + 3 / 5) / 3)
    assert ap_interpolated(ranks)[0] == pytest.approx((1 + 3 / 5 + 3 / 5) / 3)
    assert precision_at_k(ranks, k=1)[0] == 1
    assert precision_at_k(ranks, k=4)[0] == pytest.approx(2 / 4)
    assert precision_at_k(ranks, k=8)[0] == pytest.approx(3 / 8)
    assert first_rank(ranks)[0] == 1
    curve = interpolated_precision(ranks, n_points=4)[0]  # recall 0, 1/3, 2/3, 1
    np.testing.assert_allclose(curve, [1, 1, 0.6, 0.6], rtol=1e-6)


@pytest.mark.parametrize("sort", [False, True])
@pytest.mark.parametrize("ties", TIES)
def test_without_ties_all_policies_equal_the_loops(ties, sort):
    similarity, relevant = random_lists(1)
    ranks = ranks_of(similarity, relevant, sort=sort)
    lists = [in_order(s, r) for s, r in zip(similarity, relevant, strict=True)]
    expected = [oracles.average_precision(order) for order in lists]
    np.testing.assert_allclose(ap_ranking(ranks, ties=ties), expected, rtol=1e-6)
    for k in (1, 3, 9, 12):
        at_k = [sum(order[:k]) / k for order in lists]
        np.testing.assert_allclose(precision_at_k(ranks, k=k, ties=ties), at_k, rtol=1e-6)
    first = [order.index(1) + 1 for order in lists]
    np.testing.assert_allclose(first_rank(ranks, ties=ties), first, rtol=1e-6)
    if ties != "expected":
        area = [oracles.interpolated_average_precision(order) for order in lists]
        np.testing.assert_allclose(ap_interpolated(ranks, ties=ties), area, rtol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_ties_equal_all_orders(seed):
    similarity, relevant = random_lists(seed, n=7, distinct=3)
    ranks = ranks_of(similarity, relevant)
    found = {ties: np.asarray(ap_ranking(ranks, ties=ties)) for ties in TIES}
    for i, (s, r) in enumerate(zip(similarity, relevant, strict=True)):
        scores = [oracles.average_precision(order) for order in oracles.orders(s, r)]
        assert found["optimistic"][i] == pytest.approx(max(scores))
        assert found["pessimistic"][i] == pytest.approx(min(scores))
        assert found["expected"][i] == pytest.approx(np.mean(scores), abs=1e-6)
        by_threshold = oracles.average_precision_at_thresholds(s, r)
        assert found["threshold"][i] == pytest.approx(by_threshold)
        firsts = [order.index(1) + 1 for order in oracles.orders(s, r)]
        assert first_rank(ranks, ties="expected")[i] == pytest.approx(np.mean(firsts), abs=1e-5)
        assert first_rank(ranks, ties="optimistic")[i] == min(firsts)
        for ties in ("pessimistic", "threshold"):
            assert first_rank(ranks, ties=ties)[i] == max(firsts)
        for k in (1, 2, 4):
            shares = [sum(order[:k]) / k for order in oracles.orders(s, r)]
            for ties, value in (
                ("expected", np.mean(shares)),
                ("pessimistic", min(shares)),
                ("optimistic", max(shares)),
            ):
                at_k = precision_at_k(ranks, k=k, ties=ties)[i]
                assert at_k == pytest.approx(value, abs=1e-6)


def test_interpolated_curve_equals_loops():
    similarity, relevant = random_lists(5, n=8, distinct=6)
    curves = interpolated_precision(ranks_of(similarity, relevant), n_points=11)
    for found, s, r in zip(curves, similarity, relevant, strict=True):
        points = oracles.thresholds(s, r)
        for i in range(11):
            needed = i * sum(r) / 10
            best = max(p for count, p in points if count >= max(needed - 1e-9, 1))
            assert found[i] == pytest.approx(best)
    assert (np.diff(curves, axis=1) <= 0).all()


def test_lagging_curve_equals_the_loop_of_the_notebooks():
    similarity, relevant = random_lists(8, n=12)
    curves = interpolated_precision(ranks_of(similarity, relevant), n_points=13, lag=True)
    for found, s, r in zip(curves, similarity, relevant, strict=True):
        np.testing.assert_allclose(found, oracles.notebook_curve(s, r.tolist(), 13), rtol=1e-6)
    assert not np.array_equal(
        curves, interpolated_precision(ranks_of(similarity, relevant), n_points=13)
    )


def test_everything_tied():
    ranks = ranks_of([[0.5] * 10], [[1, 1] + [0] * 8])
    assert ap_ranking(ranks)[0] == pytest.approx(0.2)  # not 1, as where ties favour the right
    pairs = itertools.combinations(range(1, 11), 2)
    expected = np.mean([(1 / a + 2 / b) / 2 for a, b in pairs])
    assert ap_ranking(ranks, ties="expected")[0] == pytest.approx(expected)
    assert ap_ranking(ranks, ties="optimistic")[0] == 1
    assert ap_ranking(ranks, ties="pessimistic")[0] == pytest.approx((1 / 9 + 2 / 10) / 2)


def test_expected_is_accurate_far_down_a_long_list():
    n = 5000
    similarity = np.concatenate([np.linspace(1, 0.5, n - 3), [0.1, 0.1, 0.1]])
    relevant = np.zeros(n, int)
    relevant[[7, n - 3, n - 2]] = 1
    found = ap_ranking(ranks_of(similarity, relevant), ties="expected")[0]
    lists = []
    for order in itertools.permutations([1, 1, 0]):
        lists.append([*relevant[: n - 3], *order])
    expected = np.mean([oracles.average_precision(x) for x in lists])
    assert found == pytest.approx(expected, abs=1e-7)


def test_queries_without_right_answers():
    ranks = ranks_of([[0.3, 0.2], [0.1, 0.2]], [[0, 0], [1, 0]])
    np.testing.assert_array_equal(ranks.n_right, [0, 1])
    for score in (ap_ranking(ranks), ap_interpolated(ranks), ap_ranking(ranks, ties="expected")):
        assert np.isnan(score[0])
        assert score[1] == pytest.approx(0.5)
    assert precision_at_k(ranks, k=2)[0] == 0
    assert first_rank(ranks)[0] == np.inf
    assert np.isnan(interpolated_precision(ranks, n_points=3)[0]).all()


def test_jit_eager_and_vmap_agree():
    similarity, relevant = random_lists(3, distinct=4)
    ranks = ranks_of(similarity, relevant)
    with jax.disable_jit():
        eager = ranks_of(similarity, relevant)
        np.testing.assert_array_equal(ap_ranking(eager), ap_ranking(ranks))
    jax.tree.map(np.testing.assert_array_equal, ranks, eager)
    both = jax.tree.map(lambda x: jnp.stack([x, x[::-1]]), ranks)
    np.testing.assert_array_equal(jax.vmap(ap_ranking)(both)[1], ap_ranking(ranks)[::-1])


def test_counting_and_sorting_agree():
    similarity, relevant = random_lists(4, q=5, n=40, distinct=9)
    counted, sorted_ = (ranks_of(similarity, relevant, sort=sort) for sort in (False, True))
    jax.tree.map(np.testing.assert_array_equal, counted, sorted_)


@pytest.mark.parametrize(("values", "n_top", "expected"), [
    ([0.9, 0.5, 0.4, 0.1], 2, 2),
    ([0.9, 0.5, 0.5, 0.1], 2, 1),  # the border runs through a tie
    ([0.5, 0.5, 0.5, 0.5], 1, 0),
])  # fmt: skip
def test_top_count(values, n_top, expected):
    similarity = jnp.array([[*values, 9.0]], jnp.float32)
    allowed = jnp.array([[True] * 4 + [False]])
    assert top_count(similarity, allowed, jnp.array([n_top]), k=3)[0] == expected


def test_cosine_of_extreme_rows():
    rows = jnp.array([[3e30, 4e30], [0.0, 0.0], [3e-30, 4e-30], [-3.0, -4.0]], jnp.float32)
    unit = unit_rows(rows)
    found = cosine_similarity(unit, unit)
    expected = np.array([[1, 0, 1, -1], [0, 0, 0, 0], [1, 0, 1, -1], [-1, 0, -1, 1]])
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_errors():
    ranks = ranks_of([[0.3, 0.2]], [[1, 0]])
    with pytest.raises(ValueError, match="ties must be one of"):
        ap_ranking(ranks, ties="random")
    with pytest.raises(ValueError, match="no precision-recall curve"):
        precision_steps(ranks, ties="expected")
    with pytest.raises(ValueError, match="k must be 1"):
        precision_at_k(ranks, k=0)
    with pytest.raises(ValueError, match="n_points"):
        interpolated_precision(ranks, n_points=1)
    with pytest.raises(REFUSED):
        rank_answers(jnp.zeros((2, 3)), jnp.ones((2, 4), bool), jnp.zeros((2, 1), jnp.int32))

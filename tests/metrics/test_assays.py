import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn import metrics

from cellml.metrics.assay_ranks import lay_out_readouts, table_ranks
from cellml.metrics.assays import (
    auroc_assays,
    auroc_ranks,
    enrichment_factor,
    score_assays,
    score_layout,
)
from cellml.ops.tanimoto import nearest_tanimoto


@pytest.fixture(scope="module")
def case():
    """Assays with none to 60 hits, 60 % missing, scores in twelve steps so that many tie."""
    rng = np.random.default_rng(3)
    n, t = 150, 12
    hits = rng.random((n, t)) < np.linspace(0, 0.9, t)
    labels = np.where(rng.random((n, t)) < 0.6, np.nan, hits).astype(np.float32)
    labels[:, 5] = np.nan  # never tested
    labels[:, 9] = np.where(np.isnan(labels[:, 9]), np.nan, 1)  # nothing but hits
    scores = (rng.integers(0, 12, (n, t)) / 12 - 0.4).astype(np.float32)
    folds = rng.integers(-1, 3, n)
    return labels, scores, folds


def oracle(labels, scores):
    """scikit-learn on the tested readouts of one assay."""
    there = ~np.isnan(labels)
    true, score = labels[there] == 1, scores[there]
    if true.all() or not true.any():
        return (np.nan,) * 3
    precision, recall, _ = metrics.precision_recall_curve(true, score)
    return (
        metrics.roc_auc_score(true, score),
        metrics.average_precision_score(true, score),
        metrics.auc(recall, precision),
    )


def test_scores_equal_scikit_learn_per_assay_and_fold_with_ties(case):
    labels, scores, folds = case
    found = score_assays(labels, scores, folds=folds)
    expected = np.array(
        [
            [oracle(labels[folds == f, j], scores[folds == f, j]) for f in range(3)]
            for j in range(labels.shape[1])
        ]
    )
    for i, values in enumerate((found.auroc, found.ap, found.pr_auc_trapezoid)):
        np.testing.assert_allclose(values, expected[..., i], atol=1e-6)
    assert np.isnan(found.auroc[[0, 5, 9]]).all()
    assert np.isfinite(found.auroc).sum() > 20
    tested = np.stack([(~np.isnan(labels[folds == f])).sum(0) for f in range(3)], 1)
    np.testing.assert_array_equal(found.n_tested, tested)
    hits = np.stack([(labels[folds == f] == 1).sum(0) for f in range(3)], 1)
    np.testing.assert_array_equal(found.n_hits, hits)
    np.testing.assert_allclose(
        found.hit_rate[tested > 0], (hits / np.maximum(tested, 1))[tested > 0]
    )
    assert np.isnan(found.hit_rate[5]).all()


def test_long_rankings_keep_six_digits():
    rng = np.random.default_rng(0)
    labels = (rng.random((20_000, 1)) < 0.3).astype(np.float32)
    scores = (rng.normal(size=labels.shape) + 0.4 * labels).astype(np.float32)
    found = score_assays(labels, scores)
    values = [found.auroc, found.ap, found.pr_auc_trapezoid]
    np.testing.assert_allclose(np.ravel(values), oracle(labels[:, 0], scores[:, 0]), atol=1e-6)


def test_enrichment_is_the_mean_over_all_orders_of_ties():
    rng = np.random.default_rng(1)
    labels = (rng.random(40) < 0.3).astype(np.float32)
    scores = np.round(rng.random(40).astype(np.float32), 1)
    found = score_assays(labels[:, None], scores[:, None], fractions=(0.01, 0.1, 0.25, 1.0))
    expected = {}
    for fraction, top in ((0.01, 1), (0.1, 4), (0.25, 10), (1.0, 40)):
        values = []
        for _ in range(4000):
            order = np.lexsort((rng.random(40), -scores))
            values.append(labels[order[:top]].mean() / labels.mean())
        expected[fraction] = np.mean(values)
    for fraction, value in expected.items():
        assert found.enrichment[fraction][0, 0] == pytest.approx(value, rel=0.03)
    assert found.enrichment[1.0][0, 0] == pytest.approx(1)


def test_enrichment_by_hand():
    # Ten readouts, two hits, the best is a hit: 1 of 1 found where chance finds .2.
    labels = np.array([1, 0, 0, 1, 0, 0, 0, 0, 0, 0], np.float32)[:, None]
    scores = -np.arange(10, dtype=np.float32)[:, None]
    found = score_assays(labels, scores, fractions=(0.1, 0.3, 0.4))
    assert [float(v[0, 0]) for v in found.enrichment.values()] == pytest.approx([5, 5 / 3, 2.5])
    assert found.auroc[0, 0] == pytest.approx(14 / 16)
    assert found.ap[0, 0] == pytest.approx((1 + 2 / 4) / 2)


def test_monotone_maps_and_untested_scores_change_nothing(case):
    labels, scores, folds = case
    found = score_assays(labels, scores, folds=folds)
    other = np.where(np.isnan(labels), 99, np.exp(3 * scores)).astype(np.float32)
    again = score_assays(labels, other, folds=folds)
    np.testing.assert_array_equal(found.auroc, again.auroc)
    np.testing.assert_array_equal(found.ap, again.ap)
    flipped = auroc_assays(lay_out_readouts(labels, folds=folds), jnp.asarray(-scores))
    np.testing.assert_allclose(flipped, 1 - found.auroc, atol=1e-6)


def test_jit_equals_eager_and_vmap_a_loop(case):
    labels, scores, _ = case
    layout = lay_out_readouts(labels)
    table = layout.tables[0]
    several = jnp.stack([jnp.asarray(s).reshape(-1) for s in (scores, scores**2, -scores)])

    def one(flat):
        ranks, _ = table_ranks(table, flat)
        return auroc_ranks(ranks), enrichment_factor(ranks, jnp.full(ranks.n_right.shape, 3))

    looped = [one(flat) for flat in several]
    for i, found in enumerate(jax.jit(jax.vmap(one))(several)):
        np.testing.assert_allclose(found, jnp.stack([x[i] for x in looped]), rtol=1e-6)


def test_a_layout_serves_many_predictors_and_sizes_of_assays():
    rng = np.random.default_rng(5)
    sizes = [1, 3, 14, 15, 16, 200, 254]
    labels = np.zeros((600, len(sizes)))
    for j, size in enumerate(sizes):
        labels[rng.permutation(600)[:size], j] = 1
    layout = lay_out_readouts(labels)
    for _ in range(2):
        scores = rng.normal(size=labels.shape).astype(np.float32)
        found = auroc_assays(layout, jnp.asarray(scores))[:, 0]
        expected = [metrics.roc_auc_score(x, s) for x, s in zip(labels.T, scores.T, strict=True)]
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_missing_predictions_are_refused_or_left_out(case):
    labels, scores, _ = case
    holes = scores.copy()
    holes[::3] = np.nan
    with pytest.raises(ValueError, match="no finite score"):
        score_assays(labels, holes)
    found = score_assays(labels, holes, drop_unpredicted=True)
    keep = np.arange(len(labels)) % 3 > 0
    np.testing.assert_array_equal(found.auroc, score_assays(labels[keep], scores[keep]).auroc)
    holes = np.where(np.isnan(labels), np.nan, scores)
    np.testing.assert_array_equal(
        score_assays(labels, holes).auroc, score_assays(labels, scores).auroc
    )


def test_mistakes_are_named(case):
    labels, scores, folds = case
    wrong = labels.copy()
    wrong[4, 2] = 2
    with pytest.raises(ValueError, match=r"labels\[4, 2\] is 2"):
        score_assays(wrong, scores)
    with pytest.raises(ValueError, match="folds must lie within"):
        lay_out_readouts(labels, folds=folds - 1)
    with pytest.raises(ValueError, match="the layout is of"):
        score_layout(lay_out_readouts(labels), jnp.zeros((3, 3)))
    with pytest.raises(ValueError, match="fractions"):
        score_assays(labels, scores, fractions=(0.0,))


def test_nothing_to_score():
    found = score_assays(np.full((4, 2), np.nan, np.float32), np.zeros((4, 2), np.float32))
    assert np.isnan(found.auroc).all()
    assert found.n_tested.sum() == 0


def test_nearest_tanimoto_equals_loops():
    rng = np.random.default_rng(0)
    queries, reference = rng.random((7, 40)) < 0.3, rng.random((11, 40)) < 0.3
    queries[2] = False
    ours, theirs = rng.integers(0, 3, 7), rng.integers(0, 3, 11)
    expected = np.zeros(7), np.full(7, -1)
    for i, query in enumerate(queries):
        best = -1.0
        for j, other in enumerate(reference):
            either = (query | other).sum()
            value = (query & other).sum() / either if either else 0.0
            if ours[i] != theirs[j] and value > best:
                best = value
                expected[0][i], expected[1][i] = value, j
    found = nearest_tanimoto(
        queries, reference, query_groups=ours, reference_groups=theirs, block=3
    )
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-6)
    np.testing.assert_array_equal(found[1], expected[1])
    same = np.zeros(7, int)
    alone = nearest_tanimoto(queries, queries, query_groups=same, reference_groups=same)
    assert (alone[0] == 0).all()
    assert (alone[1] == -1).all()
    with pytest.raises(ValueError, match="groups are needed"):
        nearest_tanimoto(queries, reference, query_groups=ours)

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from cellml.metrics.column_ranks import column_ranks, spearman_columns
from cellml.metrics.value_scores import score_classes, score_values


@pytest.fixture(scope="module")
def values():
    """Readouts far from 0 with ties, a third missing; assay 2 constant, assay 3 never tested."""
    rng = np.random.default_rng(0)
    labels = np.round(rng.normal(500, 3, (120, 4)), 0)
    predicted = labels + rng.normal(0, 2, labels.shape)
    labels[rng.random(labels.shape) < 0.3] = np.nan
    labels[:, 2] = np.where(np.isnan(labels[:, 2]), np.nan, 7.1)
    labels[:, 3] = np.nan
    predicted[::9] = np.nan
    return labels.astype(np.float32), predicted.astype(np.float32), rng.integers(-1, 3, 120)


def test_values_equal_scikit_learn_and_scipy_per_assay_and_fold(values):
    labels, predicted, folds = values
    found = score_values(labels, predicted, folds=folds)
    for j in range(4):
        for f in range(3):
            rows = (folds == f) & ~np.isnan(labels[:, j]) & ~np.isnan(predicted[:, j])
            y, p = labels[rows, j].astype(np.float64), predicted[rows, j].astype(np.float64)
            assert found.n_tested[j, f] == rows.sum()
            if not rows.any():
                assert all(np.isnan(score[j, f]) for score in found[:4])
                continue
            rmse = metrics.mean_squared_error(y, p) ** 0.5
            assert found.rmse[j, f] == pytest.approx(rmse, rel=1e-5)
            assert found.mae[j, f] == pytest.approx(metrics.mean_absolute_error(y, p), rel=1e-5)
            if j == 2:
                assert np.isnan(found.r2[j, f])
                assert np.isnan(found.spearman[j, f])
            else:
                assert found.r2[j, f] == pytest.approx(metrics.r2_score(y, p), abs=1e-5)
                assert found.spearman[j, f] == pytest.approx(stats.spearmanr(y, p)[0], abs=1e-5)


def test_values_by_hand_and_shifted():
    labels = np.array([[1.0, 2, 3, 6]]).T
    predicted = np.array([[2.0, 2, 2, 4]]).T
    found = score_values(labels, predicted)
    assert found.rmse[0, 0] == pytest.approx(np.sqrt(1.5))
    assert found.mae[0, 0] == pytest.approx(1.0)
    assert found.r2[0, 0] == pytest.approx(1 - 6 / 14)
    far = score_values(labels + 1e5, predicted + 1e5)
    for a, b in zip(found, far, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    assert score_values(labels, labels).r2[0, 0] == pytest.approx(1)
    one = score_values(labels[:1], predicted[:1])
    assert one.rmse[0, 0] == pytest.approx(1)
    assert np.isnan(one.r2[0, 0])


def test_ranks_equal_scipy_with_ties_and_holes():
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 6, (2, 40, 3)).astype(np.float32)
    there = rng.random(x.shape) < 0.7
    there[:, 2] = False
    with jax.disable_jit():
        eager = column_ranks(jnp.asarray(x), jnp.asarray(there))
    found = jax.jit(column_ranks)(x, there)
    np.testing.assert_array_equal(found, eager)
    for j in range(2):
        mine = there[:, j]
        np.testing.assert_allclose(np.asarray(found)[mine, j], stats.rankdata(x[mine, j]))
        assert (np.asarray(found)[~mine, j] == 0).all()
        rank = spearman_columns(jnp.asarray(x), jnp.asarray(y), jnp.asarray(there))[j]
        assert float(rank) == pytest.approx(stats.spearmanr(x[mine, j], y[mine, j])[0], abs=1e-6)


@pytest.fixture(scope="module")
def classes():
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 3, (150, 3)).astype(np.float32)
    odds = rng.normal(size=(150, 3, 3)) + 1.5 * (labels[..., None] == np.arange(3))
    p = np.exp(odds) / np.exp(odds).sum(2, keepdims=True)
    labels[rng.random(labels.shape) < 0.2] = np.nan
    labels[:, 2] = np.where(labels[:, 2] == 2, np.nan, labels[:, 2])  # a class that never occurs
    p[::11] = np.nan
    return labels, p.astype(np.float32), rng.integers(-1, 2, 150)


def test_classes_equal_scikit_learn_per_assay_and_fold(classes):
    labels, p, folds = classes
    found = score_classes(labels, p, folds=folds)
    for j in range(3):
        for f in range(2):
            rows = (folds == f) & ~np.isnan(labels[:, j]) & ~np.isnan(p[:, j, 0])
            y, q = labels[rows, j].astype(int), p[rows, j].astype(np.float64)
            assert found.n_tested[j, f] == rows.sum()
            assert found.accuracy[j, f] == pytest.approx((q.argmax(1) == y).mean(), abs=1e-6)
            loss = metrics.log_loss(y, q / q.sum(1, keepdims=True), labels=[0, 1, 2])
            assert found.cross_entropy[j, f] == pytest.approx(loss, abs=1e-5)
            if j < 2:
                q = q / q.sum(1, keepdims=True)
                area = metrics.roc_auc_score(y, q, multi_class="ovr", average="macro")
            else:
                area = np.mean([metrics.roc_auc_score(y == c, q[:, c]) for c in (0, 1)])
            assert found.auroc_macro[j, f] == pytest.approx(area, abs=1e-6)


def test_classes_that_are_none_are_refused_and_missing_ones_are_nan(classes):
    labels, p, _ = classes
    empty = score_classes(np.full((2, 1), np.nan), np.full((2, 1, 3), 1 / 3))
    assert all(np.isnan(score).all() for score in empty[:3])
    with pytest.raises(ValueError, match="classes from 0 to 1"):
        score_classes(labels, p[..., :2])

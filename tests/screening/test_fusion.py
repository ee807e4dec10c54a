import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from cellml.screening.fusion import best_of, fit_stacking, fuse, logits, stack_folds

NAN = np.nan


def test_rules_by_hand_with_missing_modalities():
    predictions = np.array([[[0.2, 0.9, NAN]], [[0.6, NAN, NAN]]])
    np.testing.assert_allclose(fuse(predictions, "maximum"), [[0.6, 0.9, NAN]])
    np.testing.assert_allclose(fuse(predictions, "mean"), [[0.4, 0.9, NAN]])
    # logits of .2 and .6 are -log 4 and log 1.5: their mean is log sqrt(1.5 / 4)
    odds = np.sqrt(1.5 / 4)
    np.testing.assert_allclose(fuse(predictions, "logit_mean"), [[odds / (1 + odds), 0.9, NAN]])
    with pytest.raises(ValueError, match="rule must be"):
        fuse(predictions, "median")
    with pytest.raises(ValueError, match="probabilities"):
        fuse(predictions + 1)


def test_the_maximum_takes_certain_predictions():
    predictions = np.array([[[0.0, 1.0]], [[0.0, 0.5]]])
    np.testing.assert_array_equal(fuse(predictions), [[0, 1]])
    assert np.isfinite(fuse(predictions, "logit_mean")).all()


def test_best_of_takes_the_first_of_equals():
    found = best_of(np.array([[0.5, NAN, NAN, 0.7], [0.6, 0.1, NAN, 0.7]]))
    np.testing.assert_array_equal(found.value, [0.6, 0.1, NAN, 0.7])
    np.testing.assert_array_equal(found.predictor, [1, 1, -1, 0])


def world(seed, n=400, t=3):
    """Hits by two causes; each predictor sees one of them, the third is noise."""
    rng = np.random.default_rng(seed)
    causes = rng.normal(size=(3, n, t))
    true = causes[0] + 0.5 * causes[1] + 0.3 * rng.normal(size=(n, t)) > 1
    probabilities = 1 / (1 + np.exp(-causes))
    labels = np.where(rng.random((n, t)) < 0.3, NAN, true)
    return probabilities, labels


def test_stacking_equals_scikit_learn_where_both_do_the_same():
    probabilities, labels = world(0, t=1)
    probabilities = probabilities[:2]
    model = fit_stacking(probabilities, labels, penalty=1e-6)
    there = ~np.isnan(labels[:, 0])
    inputs = logits(probabilities)[:, there, 0].T
    peer = LogisticRegression(C=1e8, tol=1e-10, max_iter=1000).fit(inputs, labels[there, 0])
    np.testing.assert_allclose(model.weights, peer.coef_[0], rtol=1e-3)
    np.testing.assert_allclose(model.intercepts, peer.intercept_, rtol=1e-3)
    found = model.predict(probabilities)[there, 0]
    np.testing.assert_allclose(found, peer.predict_proba(inputs)[:, 1], atol=1e-3)


def test_stacking_weighs_what_helps_and_beats_fixed_rules():
    probabilities, labels = world(1)
    model = fit_stacking(probabilities, labels)
    assert model.weights[0] > model.weights[1] > model.weights[2] >= 0
    test, truth = world(2)
    there = ~np.isnan(truth)
    stacked = roc_auc_score(truth[there], model.predict(test)[there])
    assert stacked > roc_auc_score(truth[there], fuse(test, "mean")[there]) + 0.02
    assert stacked > roc_auc_score(truth[there], test[0][there]) + 0.02


def test_stacking_copes_with_missing_modalities_and_with_no_labels():
    probabilities, labels = world(3)
    probabilities[1, ::2] = NAN
    probabilities[:, 0] = NAN
    model = fit_stacking(probabilities, labels)
    joined = model.predict(probabilities)
    assert np.isnan(joined[0]).all()
    assert np.isfinite(joined[1:]).all()
    prior = fit_stacking(probabilities, np.full_like(labels, NAN))
    np.testing.assert_allclose(prior.weights, 1 / 3)
    full = np.isfinite(probabilities).all((0, 2))
    expected = fuse(probabilities[:, full], "logit_mean")
    np.testing.assert_allclose(prior.predict(probabilities[:, full]), expected)


def test_no_label_outside_the_validation_fold_has_a_part():
    probabilities, labels = world(4, n=90)
    folds = np.arange(90) % 3
    validation = np.array([1, 2, 0])
    runs = np.stack([probabilities, probabilities**2, probabilities**3])
    joined, models = stack_folds(runs, labels, folds=folds, validation=validation)
    for run in range(3):
        other = labels.copy()
        other[folds != validation[run]] = 1 - other[folds != validation[run]]
        again, changed = stack_folds(runs, other, folds=folds, validation=validation)
        np.testing.assert_array_equal(joined[folds == run], again[folds == run])
        np.testing.assert_array_equal(models[run].weights, changed[run].weights)
    other = labels.copy()
    other[folds == 1] = 1 - other[folds == 1]
    again, _ = stack_folds(runs, other, folds=folds, validation=validation)
    assert (joined[folds == 0] != again[folds == 0]).any()
    with pytest.raises(ValueError, match="run 1 validates"):
        stack_folds(runs, labels, folds=folds, validation=np.array([1, 1, 0]))

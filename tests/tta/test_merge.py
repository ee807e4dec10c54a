"""Merged maps and their uncertainty, against values worked out by hand."""

import jax
import numpy as np
import pytest

from cellml.tta import entropy, merge_mean, mutual_information, predict, threshold, variance


def stack_of(t=5, seed=0):
    return np.random.default_rng(seed).random((t, 3, 4, 2), dtype=np.float32)


def test_mean_of_probabilities_and_of_logits_differ():
    stack = np.array([[0.5], [0.9]], np.float32)
    np.testing.assert_allclose(merge_mean(stack), [0.7], atol=1e-6)
    # Log odds 0 and ln 9: their mean is ln 3, which is 3 to 1.
    np.testing.assert_allclose(merge_mean(stack, space="logit"), [0.75], atol=1e-6)


def test_logit_mean_of_saturated_versions_is_finite():
    stack = np.array([[0.0], [1.0], [1.0]], np.float32)
    merged = merge_mean(stack, space="logit", clip=0.01)
    np.testing.assert_allclose(merged, [99 ** (1 / 3) / (1 + 99 ** (1 / 3))], rtol=1e-5)


@pytest.mark.parametrize("space", ["probability", "logit"])
def test_identical_versions_reproduce_themselves(space):
    one = stack_of(1)
    merged = merge_mean(np.repeat(one, 6, axis=0), space=space)
    np.testing.assert_allclose(merged, one[0], atol=1e-6)
    assert np.all(np.asarray(variance(np.repeat(one, 6, axis=0))) == 0)
    np.testing.assert_allclose(mutual_information(np.repeat(one, 6, axis=0)), 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 6, 1), (4, 9, 1)])
def test_equivariant_network_has_no_variance(shape):
    image = np.random.default_rng(1).random(shape, dtype=np.float32)
    stack = predict(lambda x: jax.nn.sigmoid(5 * x - 2), image)
    assert np.all(np.asarray(variance(stack)) == 0)


def test_threshold_is_inclusive():
    votes = np.array([[1, 1, 0], [1, 0, 0], [1, 1, 0], [1, 0, 1]], np.float32)
    np.testing.assert_array_equal(threshold(merge_mean(votes)), [True, True, False])
    found = threshold(np.array([0.3, 0.8, 0.9], np.float32), at_least=0.85)
    np.testing.assert_array_equal(found, [False, False, True])


def test_variance_is_the_population_variance():
    stack = stack_of()
    np.testing.assert_allclose(variance(stack), stack.astype(np.float64).var(0), atol=1e-6)


def test_entropy_units_and_ends():
    p = np.array([0.0, 0.25, 0.5, 1.0], np.float32)
    bits = [0, 0.8112781, 1, 0]
    np.testing.assert_allclose(entropy(p), bits, atol=1e-6)
    np.testing.assert_allclose(entropy(p, unit="nat"), np.multiply(bits, np.log(2)), atol=1e-6)


def test_mutual_information_is_total_minus_expected():
    surest = np.array([[0.0, 0.5], [1.0, 0.5]], np.float32)
    np.testing.assert_allclose(mutual_information(surest), [1, 0], atol=1e-6)
    stack = stack_of().astype(np.float64)

    def by_hand(p):
        return -(p * np.log(p) + (1 - p) * np.log(1 - p))

    expected = by_hand(stack.mean(0)) - by_hand(stack).mean(0)
    found = mutual_information(stack.astype(np.float32), unit="nat")
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.asarray(found).min() >= 0


@pytest.mark.parametrize(
    "function", [merge_mean, variance, mutual_information, lambda s: merge_mean(s, space="logit")]
)
def test_jit_equals_eager(function):
    np.testing.assert_allclose(jax.jit(function)(stack_of()), function(stack_of()), atol=1e-6)


def test_unknown_options():
    with pytest.raises(ValueError, match="unknown space"):
        merge_mean(stack_of(), space="log")
    with pytest.raises(ValueError, match="clip must lie"):
        merge_mean(stack_of(), space="logit", clip=0.5)
    with pytest.raises(ValueError, match="unknown unit"):
        entropy(stack_of(), unit="hartley")

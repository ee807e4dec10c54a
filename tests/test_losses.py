"""Losses against NumPy, and padding that changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np

from cellml.losses import binary_cross_entropy, dice_loss


def _batch(b: int = 3) -> tuple[jax.Array, jax.Array, jax.Array]:
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (b, 5, 7)).astype(np.float32)
    target = (rng.random((b, 5, 7)) < 0.4).astype(np.float32)
    weight = rng.uniform(0.5, 3, (b, 5, 7)).astype(np.float32)
    return jnp.asarray(logits), jnp.asarray(target), jnp.asarray(weight)


def test_cross_entropy_equals_its_definition() -> None:
    logits, target, weight = _batch()
    p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
    expected = -(weight * (target * np.log(p) + (1 - target) * np.log(1 - p)))
    total, count = binary_cross_entropy(logits, target, weight, jnp.ones(3, bool))
    np.testing.assert_allclose(total, expected.sum(), rtol=1e-5)
    np.testing.assert_allclose(count, weight.sum(), rtol=1e-6)


def test_dice_by_hand_and_on_an_image_without_nuclei() -> None:
    logits = np.full((2, 4, 4), -50.0, np.float32)
    logits[0, :2] = 50.0
    target = np.zeros((2, 4, 4), np.float32)
    target[0, :, :2] = 1.0  # 4 of 8 + 8 pixels shared
    total, count = dice_loss(
        jnp.asarray(logits), jnp.asarray(target), jnp.ones(2, bool), smooth_px=2.0
    )
    assert count == 2
    np.testing.assert_allclose(total, 1 - (2 * 4 + 2) / (16 + 2), rtol=1e-5)


def test_invalid_images_change_nothing_and_have_no_gradient() -> None:
    logits, target, weight = _batch()
    valid = jnp.array([True, False, True])

    def loss(values: jax.Array) -> jax.Array:
        cross = binary_cross_entropy(values, target, weight, valid)
        dice = dice_loss(values, target, valid)
        return cross[0] / cross[1] + dice[0] / dice[1]

    kept = np.array([0, 2])
    cross = binary_cross_entropy(logits[kept], target[kept], weight[kept], jnp.ones(2, bool))
    dice = dice_loss(logits[kept], target[kept], jnp.ones(2, bool))
    np.testing.assert_allclose(loss(logits), cross[0] / cross[1] + dice[0] / dice[1], rtol=1e-5)
    gradient = jax.grad(loss)(logits)
    assert np.all(np.asarray(gradient)[1] == 0)
    assert np.any(np.asarray(gradient)[0] != 0)

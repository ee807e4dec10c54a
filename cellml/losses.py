"""Masked losses. Each returns a sum and the count to divide it by, so shards can be added."""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int

from cellml.types import Loss


def binary_cross_entropy(
    logits: Float[Array, "b h w"],
    target: Float[Array, "b h w"],
    weight: Float[Array, "b h w"],
    valid: Bool[Array, " b"],
) -> Loss:
    """Weighted cross-entropy of pixels, in nats; targets may lie between 0 and 1.

    Args:
      logits: Any real number.
      target: Within [0, 1].
      weight: Of each pixel, not negative.
      valid: False leaves an image out.
    Returns:
      Sum over the pixels of valid images of weight x loss, and the sum of these weights.
    """
    weight = weight * valid[:, None, None].astype(weight.dtype)
    loss = optax.sigmoid_binary_cross_entropy(logits, target)
    return jnp.sum(weight * loss), jnp.sum(weight)


def dice_loss(
    logits: Float[Array, "b h w"],
    target: Float[Array, "b h w"],
    valid: Bool[Array, " b"],
    *,
    smooth_px: float = 64.0,
) -> Loss:
    """One minus the soft Dice coefficient of each image.

    Args:
      logits: Foreground logits.
      target: Foreground in {0, 1}.
      valid: False leaves an image out.
      smooth_px: Added to both sides of the fraction: an image without a nucleus has a finite
        loss, which falls with its false foreground.
    Returns:
      Sum over valid images and their number.
    """
    probability = jax.nn.sigmoid(logits)
    both = jnp.sum(probability * target, axis=(1, 2))
    either = jnp.sum(probability, axis=(1, 2)) + jnp.sum(target, axis=(1, 2))
    loss = 1.0 - (2.0 * both + smooth_px) / (either + smooth_px)
    mask = valid.astype(loss.dtype)
    return jnp.sum(loss * mask), jnp.sum(mask)


def softmax_cross_entropy(
    logits: Float[Array, "b k"],
    target: Int[Array, " b"],
    valid: Bool[Array, " b"],
    *,
    label_smoothing: float = 0.0,
) -> Loss:
    """Cross-entropy of one class an example, in nats.

    Args:
      logits: Any real number.
      target: Class, from 0.
      valid: False leaves an example out.
      label_smoothing: Share of the target that is spread evenly over all classes.
    Returns:
      Sum over valid examples and their number.
    """
    truth = jax.nn.one_hot(target, logits.shape[-1], dtype=logits.dtype)
    truth = truth * (1.0 - label_smoothing) + label_smoothing / logits.shape[-1]
    mask = valid.astype(logits.dtype)
    return jnp.sum(optax.softmax_cross_entropy(logits, truth) * mask), jnp.sum(mask)

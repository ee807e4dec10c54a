"""Scores of binary masks: IoU, Dice and boundary F1, one value per image.

All functions are jittable and take any leading batch axes. A pixel `mask` leaves pixels out as if
the image ended there; `valid` turns the score of a padding image into NaN, which
`accumulate.summed` leaves out of sum and count.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from cellml.metrics.policy import divide

Mask = Bool[Array | np.ndarray, "*b h w"]
Valid = Bool[Array | np.ndarray, "*b"]


@partial(jax.jit, static_argnames="empty")
def iou(
    true: Mask,
    pred: Mask,
    *,
    mask: Mask | None = None,
    valid: Valid | None = None,
    empty: str = "one",
) -> Float[Array, "*b"]:
    """Intersection over union of two masks (Jaccard index).

    Args:
      true: Foreground of the truth.
      pred: Foreground of the prediction.
      mask: Pixels to score; all, if None.
      valid: False marks padding images.
      empty: Score where neither has foreground: "one", "zero" or "nan".

    Returns:
      One value in [0, 1] per image; NaN where `valid` is False, or by the policy.

    Raises:
      ValueError: Shapes or dtypes do not fit, or the policy is unknown (at trace time).
    """
    true, pred, _ = _prepare(true, pred, mask)
    score = divide(_count(true & pred), _count(true | pred), empty=empty)
    return _only_valid(score, valid)


@partial(jax.jit, static_argnames="empty")
def dice(
    true: Mask,
    pred: Mask,
    *,
    mask: Mask | None = None,
    valid: Valid | None = None,
    empty: str = "one",
) -> Float[Array, "*b"]:
    """Dice coefficient of two masks, 2 |T and P| / (|T| + |P|).

    Arguments, result and errors as in `iou`.
    """
    true, pred, _ = _prepare(true, pred, mask)
    score = divide(2.0 * _count(true & pred), _count(true) + _count(pred), empty=empty)
    return _only_valid(score, valid)


@partial(jax.jit, static_argnames=("tolerance_px", "empty"))
def boundary_f1(
    true: Mask,
    pred: Mask,
    *,
    tolerance_px: int | float = 2,
    mask: Mask | None = None,
    valid: Valid | None = None,
    empty: str = "one",
) -> Float[Array, "*b"]:
    """F1 of boundary pixels, where a match may lie up to `tolerance_px` away.

    The boundary is the foreground that touches background by an edge (4-neighbours); the frame of
    the image and of `mask` makes no boundary. Precision is the share of predicted boundary pixels
    within `tolerance_px` (Euclidean, inclusive) of a true one, recall the converse.

    Args:
      true: Foreground of the truth.
      pred: Foreground of the prediction.
      tolerance_px: Static, >= 0.
      mask: Pixels to score; all, if None.
      valid: False marks padding images.
      empty: Score where neither has a boundary: "one", "zero" or "nan". If only one has, it is 0.

    Returns:
      One value in [0, 1] per image; NaN where `valid` is False, or by the policy.

    Raises:
      ValueError: Shapes or dtypes do not fit, the tolerance is negative or not finite, or the
        policy is unknown (at trace time).
    Source: Csurka et al. 2013, BMVC, "What is a good evaluation measure for semantic
      segmentation?".
    """
    if not 0 <= tolerance_px < math.inf:
        raise ValueError(f"tolerance_px must be finite and >= 0, found {tolerance_px}")
    true, pred, inside = _prepare(true, pred, mask)
    edge_true, edge_pred = _boundary(true, inside), _boundary(pred, inside)
    n_true, n_pred = _count(edge_true), _count(edge_pred)
    precision = divide(_count(edge_pred & _dilate(edge_true, tolerance_px)), n_pred, empty="zero")
    recall = divide(_count(edge_true & _dilate(edge_pred, tolerance_px)), n_true, empty="zero")
    score = divide(2.0 * precision * recall, precision + recall, empty="zero")
    # F1 of 0 / 0 above is a plain miss; the policy is for images without any boundary.
    score = jnp.where(n_true + n_pred > 0, score, divide(n_true, n_true + n_pred, empty=empty))
    return _only_valid(score, valid)


def _prepare(true: Mask, pred: Mask, mask: Mask | None) -> tuple[Array, Array, Array]:
    """Checks shapes and dtypes; returns both masks cut to the scored pixels, and those pixels."""
    for name, value in (("pred", pred), ("mask", mask)):
        if value is not None and value.shape != true.shape:
            raise ValueError(f"true has shape {true.shape} but {name} has {value.shape}")
    for name, value in (("true", true), ("pred", pred), ("mask", mask)):
        if value is not None and value.dtype != bool:
            raise ValueError(f"{name} must be boolean (threshold it first), found {value.dtype}")
    inside = jnp.ones(true.shape, bool) if mask is None else jnp.asarray(mask)
    return jnp.asarray(true) & inside, jnp.asarray(pred) & inside, inside


def _count(pixels: Array) -> Array:
    """Number of True pixels per image; summed as integers, which stay exact beyond 2**24."""
    return pixels.sum((-2, -1), dtype=jnp.int32).astype(jnp.float32)


def _only_valid(score: Array, valid: Valid | None) -> Array:
    if valid is None:
        return score
    if valid.shape != score.shape:
        raise ValueError(
            f"valid has shape {valid.shape}, expected one flag per image {score.shape}"
        )
    return jnp.where(jnp.asarray(valid), score, jnp.nan)


def _shift(pixels: Array, dy: int, dx: int) -> Array:
    """`result[y, x] = pixels[y + dy, x + dx]`, False beyond the frame."""
    h, w = pixels.shape[-2:]
    lead = [(0, 0)] * (pixels.ndim - 2)
    padded = jnp.pad(pixels, [*lead, (abs(dy), abs(dy)), (abs(dx), abs(dx))])
    y, x = abs(dy) + dy, abs(dx) + dx
    return padded[..., y : y + h, x : x + w]


def _boundary(pixels: Array, inside: Array) -> Array:
    background = inside & ~pixels
    touches = jnp.zeros_like(pixels)
    for dy, dx in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        touches |= _shift(background, dy, dx)
    return pixels & touches


def _dilate(pixels: Array, radius_px: int | float) -> Array:
    """Dilates by a Euclidean disc: rows are widened once per width, then moved up and down."""
    h, w = pixels.shape[-2:]
    reach = int(radius_px)
    widened = [pixels]  # widened[k] reaches k pixels to the left and right
    for k in range(1, min(reach, w - 1) + 1):
        widened.append(widened[-1] | _shift(pixels, 0, k) | _shift(pixels, 0, -k))
    result = pixels
    for dy in range(-min(reach, h - 1), min(reach, h - 1) + 1):
        half_width = int(math.sqrt(radius_px**2 - dy**2))
        result |= _shift(widened[min(half_width, len(widened) - 1)], dy, 0)
    return result

"""Greedy non-maximum suppression, exact at any threshold, with static shapes."""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float, Int32, Integer

from cellml.ops import boxes as box_ops


def nms(
    boxes: Float[Array, "n 4"],
    scores: Float[Array, " n"],
    valid: Bool[Array, " n"],
    *,
    iou_max: float,
    max_keep: int,
    classes: Integer[Array, " n"] | None = None,
    block: int | None = None,
) -> tuple[Int32[Array, " max_keep"], Bool[Array, " max_keep"]]:
    """Keeps the boxes that no kept box of higher score overlaps too much.

    The result is that of the greedy loop over all boxes by falling score, also where chains of
    boxes suppress each other. The work is done in blocks of boxes by falling score: those that a
    box kept before suppresses drop out; within the block,
        kept[i] = alive[i] and no j < i with kept[j] and IoU(i, j) > iou_max
    is iterated from kept = alive until nothing changes. That ends, since the first i entries are
    right after i rounds, and has no other solution. Blocks that are not needed (`max_keep` boxes
    found, or no valid ones left) are not looked at.

    Args:
      boxes: (y0, x0, y1, x1). One without extent suppresses nothing and is not suppressed.
      scores: Higher comes first, ties in the order of the boxes; NaN comes last.
      valid: False rows are never kept and suppress nothing.
      iou_max: A box is suppressed by an IoU strictly above it, compared in the boxes' precision.
      max_keep: Static number of rows of the result; the best ones if more could be kept.
      classes: Boxes suppress those of their own class only; all, if None.
      block: Boxes compared at a time, by default 32 on a CPU and 256 elsewhere; memory is
        O(n + block^2), and the result does not depend on it.
    Returns:
      `(indices, kept)`: rows of the kept boxes by falling score, and whether the entry is one;
      the other indices are 0.
    Raises:
      ValueError: `max_keep` or `block` is below 1, or `iou_max` outside [0, 1] (at trace time).
    """
    if block is None:
        block = 32 if jax.default_backend() == "cpu" else 256
    if max_keep < 1 or block < 1 or not 0 <= iou_max <= 1:
        raise ValueError(
            "nms: max_keep and block have to be at least 1 and iou_max within [0, 1], found "
            f"max_keep={max_keep}, block={block}, iou_max={iou_max}"
        )
    if boxes.shape[0] == 0:
        return jnp.zeros(max_keep, jnp.int32), jnp.zeros(max_keep, bool)
    # integers and bools come out: a gradient would only make the loops unusable
    boxes, scores = lax.stop_gradient((boxes, scores))
    if classes is None:
        classes = jnp.zeros(boxes.shape[0], jnp.int32)
    limit = jnp.asarray(iou_max, boxes.dtype)
    return _nms(boxes, scores, valid, classes, limit, max_keep, min(block, boxes.shape[0]))


@partial(jax.jit, static_argnums=(5, 6))
def _nms(
    boxes: Array,
    scores: Array,
    valid: Array,
    classes: Array,
    iou_max: Array,
    max_keep: int,
    block: int,
) -> tuple[Array, Array]:
    n = boxes.shape[0]
    order = _by_score(scores, valid)
    n_valid = valid.sum(dtype=jnp.int32)
    # by falling score, and a last block that is full
    pad = -n % block
    order = jnp.pad(order, (0, pad))
    ranked, ranked_classes = boxes[order], classes[order]
    rows = max_keep + block  # a block is written as a whole, so the last one may stand out
    kept_boxes = jnp.zeros((-(-rows // block) * block, 4), boxes.dtype)
    kept_classes = jnp.zeros(kept_boxes.shape[0], classes.dtype)

    def suppressed_before(state: tuple[Array, ...], candidates: Array, labels: Array) -> Array:
        """Whether a box kept from earlier blocks suppresses each candidate."""
        _, count, _, kept_boxes, kept_classes = state

        def compare(i: Array, hit: Array) -> Array:
            others = lax.dynamic_slice_in_dim(kept_boxes, i * block, block)
            their_labels = lax.dynamic_slice_in_dim(kept_classes, i * block, block)
            # rows past count are zeros, which overlap nothing
            over = _overlaps(others, candidates, their_labels, labels, iou_max)
            return hit | over.any(0)

        none = jnp.zeros(block, bool)
        return lax.fori_loop(0, (count + block - 1) // block, compare, none)

    def step(state: tuple[Array, ...]) -> tuple[Array, ...]:
        start, count, found, kept_boxes, kept_classes = state
        candidates = lax.dynamic_slice_in_dim(ranked, start, block)
        labels = lax.dynamic_slice_in_dim(ranked_classes, start, block)
        alive = start + jnp.arange(block) < n_valid
        alive &= ~suppressed_before(state, candidates, labels)
        over = _overlaps(candidates, candidates, labels, labels, iou_max)
        keep = _fixpoint(alive, over & jnp.triu(jnp.ones((block, block), bool), 1))
        place = jnp.where(keep, count + jnp.cumsum(keep, dtype=jnp.int32) - 1, rows)
        new = lax.dynamic_slice_in_dim(order, start, block)
        return (
            start + block,
            count + keep.sum(dtype=jnp.int32),
            found.at[place].set(new, mode="drop"),
            kept_boxes.at[place].set(candidates, mode="drop"),
            kept_classes.at[place].set(labels, mode="drop"),
        )

    zero = jnp.zeros((), jnp.int32)
    state = (zero, zero, jnp.zeros(rows, jnp.int32), kept_boxes, kept_classes)
    _, count, found, *_ = lax.while_loop(
        lambda s: (s[0] < n_valid) & (s[1] < max_keep), step, state
    )
    return found[:max_keep], jnp.arange(max_keep) < count


def _by_score(scores: Array, valid: Array) -> Array:
    """Rows by falling score, ties in their order, the invalid ones last; int32."""
    rows = jnp.arange(scores.shape[0], dtype=jnp.int32)
    return lax.sort((~valid, -scores, rows), num_keys=2, is_stable=True)[2]


def _overlaps(a: Array, b: Array, labels_a: Array, labels_b: Array, iou_max: Array) -> Array:
    """Pairs of one class whose IoU is above `iou_max`, bool (n, m)."""
    same = labels_a[:, None] == labels_b[None, :]
    return same & (box_ops.iou_matrix(a, b) > iou_max)


def _fixpoint(alive: Array, over: Array) -> Array:
    """The kept boxes of one block; `over[j, i]`: box j would suppress the later box i."""

    def step(state: tuple[Array, Array]) -> tuple[Array, Array]:
        keep, _ = state
        new = alive & ~(over & keep[:, None]).any(0)
        return new, (new != keep).any()

    keep, _ = lax.while_loop(lambda s: s[1], step, (alive, jnp.ones((), bool)))
    return keep

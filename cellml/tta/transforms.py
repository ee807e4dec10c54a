"""The dihedral group D4 acting on images, and test-time augmented prediction.

Every element is written as *transpose first, then flip y, then flip x*. With three bits an element
can be chosen by a traced value, so that a predict function is mapped over transforms by `jax.vmap`.

Rotations turn counter-clockwise with the y axis pointing down, as `np.rot90` does: `rot90` moves
the right edge of the image to the top.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Integer

AnyArray = Array | np.ndarray
Bit = bool | np.bool_ | Array
VectorChannels = tuple[tuple[int, int], ...]
PredictFn = Callable[[Float[Array, "h w c"]], Float[Array, "h w k"]]


@dataclass(frozen=True)
class Transform:
    """One element of D4: transpose, then flip y, then flip x, each where its bit is set.

    Attributes:
      name: Name of the element, a key of `TRANSFORMS`.
      transpose: The y and x axes are swapped first; a (h, w) image becomes (w, h).
      flip_y: Rows are then reversed.
      flip_x: Columns are then reversed.
    """

    name: str
    transpose: bool
    flip_y: bool
    flip_x: bool

    def apply(
        self, x: Any, *, axes: tuple[int, int] = (-3, -2), vector_channels: VectorChannels = ()
    ) -> Any:
        """Transforms an image, a stack of images or a label image.

        Args:
          x: NumPy or JAX array, `(..., h, w, c)` by default; the kind of array is kept.
          axes: The y and the x axis; `(-2, -1)` for `(..., h, w)` label images.
          vector_channels: Pairs (channel of dy, channel of dx) along the last axis which hold
            vector components, in pixels; they turn with the image.

        Returns:
          The transformed array; `h` and `w` are exchanged if `self.transpose`.

        Raises:
          ValueError: `vector_channels` names a channel twice or one that is not there.
        """
        return _act(x, self.transpose, self.flip_y, self.flip_x, axes, vector_channels)

    @property
    def inverse(self) -> Transform:
        """The element which undoes this one."""
        if not self.transpose:
            return self
        # (F T)^-1 = T F, and moving the flips past the transpose exchanges them.
        return _element(True, self.flip_x, self.flip_y)

    def after(self, first: Transform) -> Transform:
        """The single element equal to applying `first` and then this one.

        Args:
          first: What is applied before this one.

        Returns:
          An element of `TRANSFORMS`.
        """
        flip_y, flip_x = first.flip_y, first.flip_x
        if self.transpose:
            flip_y, flip_x = flip_x, flip_y
        return _element(
            self.transpose != first.transpose, self.flip_y != flip_y, self.flip_x != flip_x
        )


_D4 = (
    Transform("identity", False, False, False),
    Transform("hflip", False, False, True),
    Transform("vflip", False, True, False),
    Transform("rot90", True, True, False),
    Transform("rot180", False, True, True),
    Transform("rot270", True, False, True),
    Transform("transpose", True, False, False),
    Transform("antitranspose", True, True, True),
)

TRANSFORMS: dict[str, Transform] = {element.name: element for element in _D4}
"""The eight elements by name. `hflip` mirrors left-right, `vflip` top-bottom."""

PRESETS: dict[str, tuple[Transform, ...]] = {
    "none": _D4[:1],
    "dissertation6": _D4[:6],
    "d4": _D4,
}
"""Named sets of transforms; the identity always comes first."""


def _element(transpose: bool, flip_y: bool, flip_x: bool) -> Transform:
    """The element with these bits."""
    bits = (transpose, flip_y, flip_x)
    return next(e for e in _D4 if (e.transpose, e.flip_y, e.flip_x) == bits)


def resolve_transforms(transforms: str | Sequence[Transform]) -> tuple[Transform, ...]:
    """The transforms of a preset, or the given ones.

    Args:
      transforms: A key of `PRESETS`, or transforms in the order of the versions wanted.

    Returns:
      At least one transform.

    Raises:
      ValueError: The preset is unknown, or the sequence is empty.
    """
    if isinstance(transforms, str):
        if transforms not in PRESETS:
            raise ValueError(
                f"unknown TTA preset {transforms!r}; known: {', '.join(sorted(PRESETS))}"
            )
        return PRESETS[transforms]
    if not transforms:
        raise ValueError("no transforms given; PRESETS['none'] is the identity alone")
    return tuple(transforms)


def predict(
    predict_fn: PredictFn,
    image: Float[AnyArray, "..."],
    *,
    transforms: str | Sequence[Transform] = "d4",
    chunk: int | None = None,
    vector_channels: VectorChannels = (),
) -> Float[Array, "t h w k"]:
    """Predicts every transformed copy of an image and turns the predictions back.

    The copies of a square image are one `jax.vmap`, so the network sees one batch of t images.
    The copies of any other image come in two shapes, (h, w) and (w, h), and are predicted in two
    batches, without padding. Jittable; `jax.vmap` it for a batch of images.

    Args:
      predict_fn: Pure function of one image, `[h w c] -> [h w k]`; it is called for both
        orientations. Wrap a batched network as `lambda x: network(x[None])[0]`. A network with
        stride s needs h and w to be multiples of s: padding is the caller's.
      image: One image.
      transforms: Preset name or transforms; static.
      chunk: At most this many transformed copies (and their activations) live at once; static.
        None: all of one shape at once. Results are equal up to the network's rounding.
      vector_channels: Pairs (channel of dy, channel of dx) of the prediction which are vector
        components in pixels, such as flows; they are turned back with the image.

    Returns:
      The de-augmented predictions in the order of `transforms`.

    Raises:
      ValueError: A static option is out of range, or `predict_fn` changes h or w.
    """
    chosen = resolve_transforms(transforms)
    if image.ndim != 3:
        raise ValueError(f"image must be (h, w, c), found shape {image.shape}")
    if chunk is not None and chunk < 1:
        raise ValueError(f"chunk must be at least 1, found {chunk}")
    pixels = jnp.asarray(image)
    if pixels.shape[0] == pixels.shape[1]:
        groups = [list(range(len(chosen)))]
    else:
        groups = [
            [i for i, t in enumerate(chosen) if t.transpose == side] for side in (False, True)
        ]
    order: list[int] = []
    parts: list[Array] = []
    for group in groups:
        if group:
            order += group
            parts.append(
                _predict_group(
                    predict_fn, pixels, [chosen[i] for i in group], chunk, vector_channels
                )
            )
    stack = parts[0] if len(parts) == 1 else jnp.concatenate(parts)
    return stack if order == sorted(order) else stack[np.argsort(order)]


def _predict_group(
    predict_fn: PredictFn,
    image: Array,
    group: Sequence[Transform],
    chunk: int | None,
    vector_channels: VectorChannels,
) -> Array:
    """Maps over transforms whose copies of `image` all have one shape."""

    def one(forward: tuple[Bit, Bit, Bit], backward: tuple[Bit, Bit, Bit]) -> Array:
        view = _act(image, *forward, (-3, -2), ())
        out = predict_fn(view)
        if out.ndim != 3 or out.shape[:2] != view.shape[:2]:
            raise ValueError(
                f"predict_fn must keep height and width: {view.shape} gave {out.shape}, "
                f"expected ({view.shape[0]}, {view.shape[1]}, k)"
            )
        return _act(out, *backward, (-3, -2), vector_channels)

    if len(group) == 1:  # static bits: no select, and nothing to map over
        return one(_bits(group[0]), _bits(group[0].inverse))[None]
    # The transpose bit may be traced only where both its outcomes have the same shape.
    same_side = len({t.transpose for t in group}) == 1
    table = np.array([_bits(t) + _bits(t.inverse) for t in group])

    def mapped(bits: Array) -> Array:
        side: tuple[Bit, Bit] = (
            (group[0].transpose, group[0].transpose) if same_side else (bits[0], bits[3])
        )
        return one((side[0], bits[1], bits[2]), (side[1], bits[4], bits[5]))

    if chunk is None or chunk >= len(group):
        return jax.vmap(mapped)(jnp.asarray(table))
    return lax.map(mapped, jnp.asarray(table), batch_size=chunk)


def deaugment_labels(
    versions: Sequence[Integer[AnyArray, "..."]], transforms: str | Sequence[Transform]
) -> Integer[AnyArray, "t h w"]:
    """Turns label images which were predicted on transformed copies back to one frame.

    Together with `Transform.apply` this puts TTA on top of any segmenter, also one that is run by
    hand: segment `t.apply(image)` for each t, then give the label images to this function and
    the result to `merge_instances`.

    Args:
      versions: One label image a transform, (h, w) or (w, h), NumPy or JAX.
      transforms: What each of them was predicted on.

    Returns:
      The stack in the frame of the original image; NumPy unless a version is a JAX array.

    Raises:
      ValueError: The numbers differ, or a version has a shape that its transform cannot give.
    """
    chosen = resolve_transforms(transforms)
    if len(versions) != len(chosen):
        raise ValueError(f"{len(chosen)} transforms, but {len(versions)} label images")
    turned = [
        t.inverse.apply(labels, axes=(-2, -1)) for t, labels in zip(chosen, versions, strict=True)
    ]
    for t, labels in zip(chosen, turned, strict=True):
        if labels.ndim != 2 or labels.shape != turned[0].shape:
            raise ValueError(
                f"label image of {t.name}: expected {turned[0].shape} after turning back, as for "
                f"{chosen[0].name}, found {labels.shape}"
            )
    return _namespace(*turned).stack(turned)


def _bits(transform: Transform) -> tuple[bool, bool, bool]:
    return transform.transpose, transform.flip_y, transform.flip_x


def _namespace(*arrays: Any) -> Any:
    """jax.numpy if any of the arrays is JAX's, else numpy."""
    return jnp if any(isinstance(a, jax.Array) for a in arrays) else np


def _pick(bit: Bit, changed: Any, kept: Any) -> Any:
    """`changed` where the bit is set; a traced bit needs equal shapes."""
    if isinstance(bit, bool):
        return changed if bit else kept
    return jnp.where(bit, changed, kept)


def _act(
    x: Any,
    transpose: Bit,
    flip_y: Bit,
    flip_x: Bit,
    axes: tuple[int, int],
    vector_channels: VectorChannels,
) -> Any:
    """Applies the element with these bits, static or traced, to pixels and vector components."""
    xp = _namespace(x)
    axis_y, axis_x = axes
    if transpose is not False:
        x = _pick(transpose, xp.swapaxes(x, axis_y, axis_x), x)
    if flip_y is not False:
        x = _pick(flip_y, xp.flip(x, axis_y), x)
    if flip_x is not False:
        x = _pick(flip_x, xp.flip(x, axis_x), x)
    if not vector_channels:
        return x
    _check_vector_channels(vector_channels, x.shape[-1])
    swapped = np.arange(x.shape[-1])
    is_y, is_x = np.zeros((2, x.shape[-1]), bool)
    for dy, dx in vector_channels:
        swapped[[dy, dx]] = dx, dy
        is_y[dy], is_x[dx] = True, True
    x = _pick(transpose, x[..., swapped], x)
    x = _pick(flip_y, xp.where(is_y, -x, x), x)
    return _pick(flip_x, xp.where(is_x, -x, x), x)


def _check_vector_channels(vector_channels: VectorChannels, channels: int) -> None:
    used = [c for pair in vector_channels for c in pair]
    if len(set(used)) != len(used) or not all(0 <= c < channels for c in used):
        raise ValueError(
            f"vector_channels {vector_channels} must be disjoint pairs within 0..{channels - 1}"
        )

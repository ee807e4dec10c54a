"""The classic assist: an object grown from the middle of a prompt by its colour.

In the spirit of AnnotatorJ's assist without a network. The tolerance is not a number to be set: a
pixel joins where it is nearer to the colour of the object's middle than to that of its
surroundings, so that bright and dark objects, grey and stained ones are treated alike.
"""

import numpy as np
import scipy.ndimage as ndi
from jaxtyping import Bool, Float

SMOOTH_PX = 1.0
MIDDLE_SHARE = 0.5
"""The middle of a prompt is at least this share of its greatest depth inside it."""


def contrast_map(
    image: Float[np.ndarray, "h w c"],
    prompt: Bool[np.ndarray, "h w"],
    ring: Bool[np.ndarray, "h w"],
) -> Float[np.ndarray, "h w"]:
    """How much every pixel looks like the prompt's middle: 1 as that, 0 as its surroundings.

    Args:
      image: Of any scale.
      prompt: At least one pixel.
      ring: The surroundings; may hold some of the object and of its neighbours.

    Returns:
      Projection of the smoothed colours onto the line from the colour of the surroundings (median
      of that half of the ring that differs most from the middle) to that of the middle (median);
      zero everywhere if the two are the same, or there are no surroundings.
    """
    smooth = ndi.gaussian_filter(image.astype(np.float32), (SMOOTH_PX, SMOOTH_PX, 0))
    middle = np.median(smooth[middle_of(prompt)], axis=0)
    if not ring.any():
        return np.zeros(prompt.shape, np.float32)
    distance = np.linalg.norm(smooth[ring] - middle, axis=1)
    ground = np.median(smooth[ring][distance >= np.median(distance)], axis=0)
    line = middle - ground
    length = float(line @ line)
    if length < 1e-8:
        return np.zeros(prompt.shape, np.float32)
    return ((smooth - ground) @ line / np.float32(length)).astype(np.float32)


def grow_region(
    likeness: Float[np.ndarray, "h w"],
    prompt: Bool[np.ndarray, "h w"],
    near: Bool[np.ndarray, "h w"],
) -> Bool[np.ndarray, "h w"]:
    """Grows an object from the middle of a prompt.

    Args:
      likeness: From `contrast_map`.
      prompt: At least one pixel.
      near: The object stays within.

    Returns:
      One piece without holes; empty where nothing stands out.
    """
    alike = (likeness >= 0.5) & near
    seeds = alike & middle_of(prompt)
    # thin bridges to a neighbour of the same colour are cut before anything is called connected
    opened = ndi.binary_opening(alike)
    pieces, _ = ndi.label(opened if (opened & seeds).any() else alike)
    sizes = np.bincount(pieces[seeds], minlength=1)
    sizes[0] = 0
    if not sizes.any():
        return np.zeros(prompt.shape, bool)
    return np.asarray(ndi.binary_fill_holes(pieces == sizes.argmax()), bool)


def middle_of(prompt: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The pixels deep inside a prompt, where the object can be expected."""
    depth = ndi.distance_transform_edt(prompt)
    return np.asarray(depth >= MIDDLE_SHARE * depth.max(), bool) & prompt


def largest_piece(mask: Bool[np.ndarray, "h w"]) -> Bool[np.ndarray, "h w"]:
    """The largest connected part of a mask."""
    pieces, count = ndi.label(mask)
    return mask if count < 2 else pieces == np.bincount(pieces.ravel())[1:].argmax() + 1

"""Draws nuclei as coloured outlines on the image, for a person to look at."""

import numpy as np
from jaxtyping import Float, Int, Shaped, UInt8
from scipy import ndimage

SIDE_MIN_PX, SIDE_MAX_PX = 800, 4096
GOLDEN_RATIO = 0.6180339887498949


def overlay_picture(
    pixels: Shaped[np.ndarray, "h w c"],
    labels: Int[np.ndarray, "h w"],
    limits: tuple[float, float],
) -> UInt8[np.ndarray, "H W 3"]:
    """Paints outlines, each nucleus in its own colour.

    Small images are enlarged by a whole factor, so that outlines are fine lines; of images above
    4,096 px a side every second, third, ... pixel is shown.

    Args:
      pixels: 1 or 3 channels.
      labels: Labels, 0 is background.
      limits: Intensities shown as black and white.

    Returns:
      An RGB picture.
    """
    side = max(labels.shape)
    step = -(-side // SIDE_MAX_PX)
    zoom = max(1, min(4, round(SIDE_MIN_PX / side)))
    labels = labels[::step, ::step]
    low, high = limits
    shown = (pixels[::step, ::step].astype(np.float32) - np.float32(low)) / np.float32(high - low)
    # a mild gamma lifts dim nuclei, which are where a look at the outlines is needed
    shown = np.clip(shown, 0, 1) ** np.float32(0.8 if pixels.shape[2] == 1 else 1.0)
    picture = np.repeat(shown, 3, axis=2) if pixels.shape[2] == 1 else shown
    if zoom > 1:
        size = (labels.shape[0] * zoom, labels.shape[1] * zoom)
        rows, columns = (_centres(n, zoom) for n in labels.shape)
        picture = _bilinear(picture, rows, columns)
        labels = _smooth_enlarged(labels, zoom, size)
    edge = inner_boundary(labels)
    if zoom > 1:  # two pixels wide: one is lost on stained tissue
        edge |= inner_boundary(np.where(edge, 0, labels))
    picture[edge] = label_colours(int(labels.max(initial=0)))[labels[edge]]
    return np.round(picture * 255).astype(np.uint8)


def inner_boundary(labels: Int[np.ndarray, "h w"]) -> np.ndarray:
    """Marks pixels of an object that have a 4-neighbour outside it; the image's border is none."""
    edge = np.zeros(labels.shape, bool)
    down = labels[1:] != labels[:-1]
    right = labels[:, 1:] != labels[:, :-1]
    edge[1:] |= down
    edge[:-1] |= down
    edge[:, 1:] |= right
    edge[:, :-1] |= right
    return edge & (labels > 0)


def label_colours(count: int) -> Float[np.ndarray, "n 3"]:
    """Returns bright colours for labels 0..count; hues of neighbouring labels lie far apart."""
    hue = (np.arange(count + 1) * GOLDEN_RATIO) % 1.0
    bright = 1.0 - 0.25 * (np.arange(count + 1) % 3 == 2)
    wave = np.abs((hue[:, None] * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1
    rgb = 0.15 + 0.85 * np.clip(wave, 0, 1)
    return (rgb * bright[:, None]).astype(np.float32)


def _centres(length: int, zoom: int) -> np.ndarray:
    return np.clip((np.arange(length * zoom) + 0.5) / zoom - 0.5, 0, length - 1)


def _bilinear(picture: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    for axis, at in ((0, rows), (1, columns)):
        low = np.floor(at).astype(int)
        high = np.minimum(low + 1, picture.shape[axis] - 1)
        share = (at - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
        picture = picture.take(low, axis) * (1 - share) + picture.take(high, axis) * share
    return picture


def _smooth_enlarged(
    labels: Int[np.ndarray, "h w"], zoom: int, size: tuple[int, int]
) -> Int[np.ndarray, "H W"]:
    """Enlarges labels with rounded instead of stepped outlines, for the eye only."""
    large = labels.repeat(zoom, 0).repeat(zoom, 1)
    out = np.zeros(size, labels.dtype)
    best = np.full(size, 0.5, np.float32)
    for label, box in enumerate(ndimage.find_objects(large), start=1):
        if box is None:
            continue
        grown = tuple(
            slice(max(0, s.start - zoom), min(n, s.stop + zoom))
            for s, n in zip(box, size, strict=True)
        )
        inside = (large[grown] == label).astype(np.float32)
        soft = ndimage.gaussian_filter(inside, zoom / 2, mode="nearest")
        win = soft > best[grown]
        out[grown][win] = label
        best[grown][win] = soft[win]
    return out

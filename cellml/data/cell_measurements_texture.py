"""Texture and granularity of objects in crops; for `cellml.data.cell_measurements`."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer

HARALICK = (
    "AngularSecondMoment",
    "Contrast",
    "Correlation",
    "Variance",
    "InverseDifferenceMoment",
    "SumAverage",
    "SumVariance",
    "SumEntropy",
    "Entropy",
    "DifferenceVariance",
    "DifferenceEntropy",
    "InfoMeas1",
    "InfoMeas2",
)
"""Source: Haralick, Shanmugam & Dinstein 1973, IEEE Trans. SMC 3:610; entropies in bits."""

LEVELS = 32
RANGE_SD = 5.0
"""Grey levels span this many standard deviations around the mean of the object's pixels, so that
texture knows nothing of the stain's strength and background."""

DISTANCES = (1, 4)
"""Of the pairs of pixels, px."""

GRAIN_SIZES = 8
"""Openings by squares of 3, 5, ... pixels of twice the size."""


def haralick_measurements(
    planes: Float[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"]
) -> Float[np.ndarray, "n q"]:
    """Measures `HARALICK` of every object, all four directions pooled.

    Args:
      planes: Intensities.
      masks: Objects; pairs of pixels count where both lie inside.

    Returns:
      In the order of `haralick_names`; NaN where there is no pair.
    """
    n, channels = planes.shape[:2]
    levels = grey_levels(planes, masks)
    found = []
    for distance in DISTANCES:
        counts = cooccurrences(levels, masks, distance=distance)
        flat = counts.reshape(n * channels, LEVELS, LEVELS).astype(np.float64)
        found.append(haralick(flat).reshape(n, channels * len(HARALICK)))
    return np.concatenate(found, axis=1)


def haralick_names(channels: Sequence[str]) -> list[str]:
    """Names of what `haralick_measurements` gives."""
    return [
        f"{name}_{c}_{distance}" for distance in DISTANCES for c in channels for name in HARALICK
    ]


def grey_levels(
    planes: Float[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"]
) -> Integer[np.ndarray, "n c s s"]:
    """Sorts intensities into `LEVELS`, by mean and standard deviation of each object.

    Args:
      planes: Intensities.
      masks: Objects.

    Returns:
      Levels; those of a flat object are all LEVELS / 2, those outside are 0.
    """
    n, channels = planes.shape[:2]
    levels = np.zeros(planes.shape, np.int32)
    for i in range(n):
        inside = np.flatnonzero(masks[i])
        values = planes[i].reshape(channels, -1)[:, inside]
        mean = values.sum(1, keepdims=True, dtype=np.float64) / max(inside.size, 1)
        values = values - mean.astype(np.float32)
        square = (values**2).sum(1, keepdims=True, dtype=np.float64) / max(inside.size, 1)
        step = np.sqrt(square) * (RANGE_SD / LEVELS)
        # Below, the deviations of a flat object from its mean are rounding errors.
        step = np.where(np.sqrt(square) > 1e-6 * mean, step, np.inf).astype(np.float32)
        level = np.floor(values / step) + np.float32(LEVELS // 2)
        levels[i].reshape(channels, -1)[:, inside] = np.clip(level, 0, LEVELS - 1)
    return levels


def cooccurrences(
    levels: Integer[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"], *, distance: int
) -> Integer[np.ndarray, "n c l l"]:
    """Counts pairs of grey levels, in both orders, over four directions.

    Args:
      levels: Within 0..`LEVELS` - 1.
      masks: Pixels that count.
      distance: Of a pair, px: along rows, along columns, or both in the two diagonals.

    Returns:
      Symmetric tables.
    """
    n, channels, side, _ = levels.shape
    padding = ((0, 0), (0, distance), (distance, distance))
    width = side + 2 * distance
    inside = np.pad(masks, padding).reshape(-1)
    first = np.flatnonzero(inside)
    which = first // ((side + distance) * width)
    table = np.zeros((channels, n * LEVELS * LEVELS), np.int64)
    flats = [np.pad(levels[:, c], padding).reshape(-1) for c in range(channels)]
    for step in (distance, distance * width, distance * (width + 1), distance * (width - 1)):
        # A step beyond the last plane lands on its padding's end: not inside.
        second = np.minimum(first + step, inside.size - 1)
        pairs = inside[second] & (first + step < inside.size)
        a, b, base = first[pairs], second[pairs], which[pairs] * (LEVELS * LEVELS)
        for c, flat in enumerate(flats):
            code = base + flat[a] * np.int32(LEVELS) + flat[b]
            table[c] += np.bincount(code, minlength=table.shape[1])
    counts = table.reshape(channels, n, LEVELS, LEVELS).swapaxes(0, 1)
    return counts + counts.swapaxes(2, 3)


def haralick(counts: Float[np.ndarray, "m l l"]) -> Float[np.ndarray, "m q"]:
    """Haralick's features of symmetric tables of pairs.

    Args:
      counts: Symmetric, not negative.

    Returns:
      `HARALICK` of each; NaN where a table is empty. Correlation of one single level is 1.
    """
    m, levels = counts.shape[:2]
    total = counts.sum((1, 2))
    p = counts / np.where(total > 0, total, 1)[:, None, None]
    i = np.arange(levels, dtype=np.float64)
    px = p.sum(2)
    mean = px @ i
    variance = px @ i**2 - mean**2
    flat = p.reshape(m, levels * levels)
    sums, differences = flat @ _SUMS[levels], flat @ _DIFFERENCES[levels]
    k = np.arange(2 * levels - 1, dtype=np.float64)
    product = flat @ np.outer(i, i).reshape(-1)
    correlation = (product - mean**2) / np.where(variance > 1e-12, variance, 1)
    entropy, of_level = _entropy(flat), _entropy(px)
    sum_mean, difference_mean = sums @ k, differences @ i
    columns = [
        (flat**2).sum(1),
        differences @ i**2,
        np.where(variance > 1e-12, correlation, 1.0),
        variance,
        differences @ (1 / (1 + i**2)),
        sum_mean,
        sums @ k**2 - sum_mean**2,
        _entropy(sums),
        entropy,
        differences @ i**2 - difference_mean**2,
        _entropy(differences),
        # Of a symmetric table, HXY1 and HXY2 of Haralick are both twice the levels' entropy.
        (entropy - 2 * of_level) / np.where(of_level > 1e-12, of_level, 1),
        np.sqrt(1 - np.exp(-2 * np.maximum(2 * of_level - entropy, 0))),
    ]
    return np.where(total[:, None] > 0, np.stack(columns, 1), np.nan)


def granularity_names(channels: Sequence[str]) -> list[str]:
    """Names of what `granularity_measurements` gives."""
    return [f"Granularity_{c}_{size}" for c in channels for size in range(1, GRAIN_SIZES + 1)]


def granularity_measurements(
    planes: Float[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"]
) -> Float[np.ndarray, "n q"]:
    """Measures what openings by squares of growing size take away from the objects' intensity.

    Args:
      planes: Intensities; halved in size first.
      masks: Where intensities count.

    Returns:
      For each channel, per cent of the intensity for each size, over what is left by the one
      before. NaN where there is no object.
    """
    # Channels last: neighbours along a row are then long runs of memory.
    image = np.ascontiguousarray(np.moveaxis(_halved(planes), 1, -1))
    weight = _halved(masks[:, None].astype(np.float32))[:, 0, ..., None]
    left = [(image * weight).sum((1, 2), dtype=np.float64)]
    eroded = image
    for size in range(1, GRAIN_SIZES + 1):
        eroded = _neighbours(eroded, np.minimum)
        opened = eroded
        for _ in range(size):
            opened = _neighbours(opened, np.maximum)
        left.append((opened * weight).sum((1, 2), dtype=np.float64))
    sums = np.stack(left, -1)
    spectrum = 100 * (sums[..., :-1] - sums[..., 1:])
    spectrum /= np.where(sums[..., :1] > 0, sums[..., :1], 1)
    there = np.asarray(masks.any((1, 2)))[:, None, None]
    return np.where(there, spectrum, np.nan).reshape(len(planes), -1)


def _entropy(p: Float[np.ndarray, "m k"]) -> Float[np.ndarray, " m"]:
    """Bits; 0 log 0 is 0."""
    return -(p * np.log2(np.where(p > 0, p, 1))).sum(1)


def _halved(planes: Float[np.ndarray, "n c s s"]) -> Float[np.ndarray, "n c t t"]:
    """Means of 2 x 2 pixels; an odd last row and column is left out."""
    side = planes.shape[-1] // 2 * 2
    rows = planes[..., 0:side:2, :side] + planes[..., 1:side:2, :side]
    return (rows[..., 0::2] + rows[..., 1::2]) * np.float32(0.25)


def _neighbours(images: np.ndarray, pick: np.ufunc) -> np.ndarray:
    """Smallest (or largest) value of 3 x 3 pixels; at the border of those that are there."""
    n, height, width, channels = images.shape
    rows = images.reshape(n, height, width * channels)
    across = rows.copy()
    pick(across[:, :, channels:], rows[:, :, :-channels], out=across[:, :, channels:])
    pick(across[:, :, :-channels], rows[:, :, channels:], out=across[:, :, :-channels])
    out = across.copy()
    pick(out[:, 1:], across[:, :-1], out=out[:, 1:])
    pick(out[:, :-1], across[:, 1:], out=out[:, :-1])
    return out.reshape(images.shape)


class _Sums(dict[int, np.ndarray]):
    """For a number of levels: 1 where the pair (row) has the sum (column)."""

    def __missing__(self, levels: int) -> np.ndarray:
        i, j = np.divmod(np.arange(levels * levels), levels)
        self[levels] = (np.add(i, j)[:, None] == np.arange(2 * levels - 1)).astype(np.float64)
        return self[levels]


class _Differences(dict[int, np.ndarray]):
    """For a number of levels: 1 where the pair (row) has the absolute difference (column)."""

    def __missing__(self, levels: int) -> np.ndarray:
        i, j = np.divmod(np.arange(levels * levels), levels)
        self[levels] = (np.abs(i - j)[:, None] == np.arange(levels)).astype(np.float64)
        return self[levels]


_SUMS, _DIFFERENCES = _Sums(), _Differences()

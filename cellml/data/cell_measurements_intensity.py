"""Intensities of objects in crops, and where they lie; for `cellml.data.cell_measurements`."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from scipy import ndimage

NAMES = (
    "IntegratedIntensity",
    "MeanIntensity",
    "StdIntensity",
    "MinIntensity",
    "LowerQuartileIntensity",
    "MedianIntensity",
    "UpperQuartileIntensity",
    "MaxIntensity",
    "MADIntensity",
    "MeanIntensityEdge",
    "StdIntensityEdge",
    "MassDisplacement",
)
"""Of each channel. Edge: pixels with a side to the outside. MassDisplacement: px between the
centroid of the pixels and that of the intensity."""

RINGS = 4
WEDGES = 8
COLOCALISED = 0.15
"""Manders' coefficient of i and j: share of the intensity of i where j is above this share of its
maximum."""


def intensity_measurements(
    planes: Float[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"]
) -> Float[np.ndarray, "n q"]:
    """Measures `NAMES` of every channel, channel by channel; NaN where there is no object."""
    n, channels, side, _ = planes.shape
    result = np.full((n, channels, len(NAMES)), np.nan)
    edges = masks & ~_eroded(masks)
    grid = np.stack(np.divmod(np.arange(side * side), side), 1).astype(np.float32)
    for i in range(n):
        inside = np.flatnonzero(masks[i])
        if inside.size:
            flat = planes[i].reshape(channels, -1)
            result[i] = _statistics(
                flat[:, inside], flat[:, np.flatnonzero(edges[i])], grid[inside]
            )
    return result.reshape(n, -1)


def correlation_names(channels: Sequence[str], *, manders: bool) -> list[str]:
    """Names of what `correlation_measurements` gives."""
    pairs = list(combinations(channels, 2))
    names = [f"Correlation_{a}_{b}" for a, b in pairs]
    if manders:
        names += [f"Manders_{a}_{b}" for a, b in pairs] + [f"Manders_{b}_{a}" for a, b in pairs]
    return names


def correlation_measurements(
    planes: Float[np.ndarray, "n c s s"], masks: Bool[np.ndarray, "n s s"], *, manders: bool
) -> Float[np.ndarray, "n q"]:
    """Measures how channels lie on each other.

    Args:
      planes: Intensities.
      masks: Objects.
      manders: Whether to add Manders' coefficients.

    Returns:
      Pearson correlations of all pairs of channels (0 where one is flat), then Manders'; NaN where
      there is no object.
    """
    n, channels = planes.shape[:2]
    first, second = np.triu_indices(channels, 1)
    result = np.full((n, first.size * (3 if manders else 1)), np.nan)
    for i in range(n):
        inside = np.flatnonzero(masks[i])
        if not inside.size:
            continue
        values = planes[i].reshape(channels, -1)[:, inside].astype(np.float64)
        centred = values - values.mean(1, keepdims=True)
        product = centred @ centred.T
        size = np.sqrt(np.outer(np.diag(product), np.diag(product)))
        # A flat channel has a variance of rounding errors.
        flat = np.ptp(values, axis=1) == 0
        size[flat] = size[:, flat] = np.inf
        parts = [(product / size)[first, second]]
        if manders:
            high = values > COLOCALISED * values.max(1, keepdims=True)
            total = values.sum(1, keepdims=True)
            share = (values @ high.T) / np.where(total > 0, total, 1)
            parts += [share[first, second], share[second, first]]
        result[i] = np.concatenate(parts)
    return result


def radial_names(channels: Sequence[str]) -> list[str]:
    """Names of what `radial_measurements` gives."""
    kinds = ("FracAtD", "MeanFrac", "RadialCV")
    rings = range(1, RINGS + 1)
    return [f"{kind}_{c}_{r}of{RINGS}" for c in channels for kind in kinds for r in rings]


def radial_measurements(
    planes: Float[np.ndarray, "n c s s"],
    cells: Bool[np.ndarray, "n s s"],
    nuclei: Bool[np.ndarray, "n s s"],
) -> Float[np.ndarray, "n q"]:
    """Distributes the intensity of cells over rings around their nucleus.

    A pixel at the distance a from the centroid of the nucleus (of the cell, without a nucleus)
    and b from the outside of the cell lies in ring floor(RINGS a / (a + b)).

    Args:
      planes: Intensities.
      cells: Where to measure.
      nuclei: Their nuclei.

    Returns:
      For each channel: share of the intensity in each ring; that over the ring's share of the
      pixels; coefficient of variation of the means of its eight wedges. NaN where there is no cell
      or no pixel in the ring.
    """
    n, channels, side, _ = planes.shape
    result = np.full((n, channels, 3, RINGS), np.nan)
    for i in range(n):
        inside = np.flatnonzero(cells[i])
        if inside.size:
            sector = _sectors(cells[i], nuclei[i], inside)
            result[i] = _rings(planes[i].reshape(channels, side * side)[:, inside], sector)
    return result.reshape(n, -1)


def _statistics(
    values: Float[np.ndarray, "c k"], edge: Float[np.ndarray, "c e"], yx: Float[np.ndarray, "k 2"]
) -> Float[np.ndarray, "c q"]:
    ascending = np.sort(values, axis=1)
    total = values.sum(1, dtype=np.float64)
    mean = total / values.shape[1]
    centred = values - mean[:, None].astype(np.float32)
    quartiles = _quantiles(ascending, (0.25, 0.5, 0.75))
    deviation = np.abs(values - quartiles[:, 1:2].astype(np.float32))
    weights = values / np.where(total > 0, total, 1)[:, None]
    shift = weights.astype(np.float64) @ yx - yx.mean(0, dtype=np.float64)
    place = np.where(total > 0, np.sqrt((shift**2).sum(1)), 0.0)
    columns = [
        total,
        mean,
        np.sqrt((centred**2).mean(1, dtype=np.float64)),
        ascending[:, 0],
        *quartiles.T,
        ascending[:, -1],
        np.median(deviation, axis=1),
        edge.mean(1, dtype=np.float64),
        edge.std(1, dtype=np.float64),
        place,
    ]
    return np.stack(columns, 1)


def _quantiles(
    ascending: Shaped[np.ndarray, "c k"], shares: Sequence[float]
) -> Float[np.ndarray, "c q"]:
    """Quantiles, linear between ranks, of rows that are sorted."""
    place = np.asarray(shares) * (ascending.shape[1] - 1)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, ascending.shape[1] - 1)
    at_low, at_high = ascending[:, low].astype(np.float64), ascending[:, high].astype(np.float64)
    return at_low + (at_high - at_low) * (place - low)


def _sectors(
    cell: Bool[np.ndarray, "s s"], nucleus: Bool[np.ndarray, "s s"], inside: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " k"]:
    """Ring times WEDGES plus wedge of every pixel of a cell."""
    side = cell.shape[0]
    y, x = np.divmod(inside, side)
    box = slice(y.min(), y.max() + 1), slice(x.min(), x.max() + 1)
    to_edge = ndimage.distance_transform_edt(np.pad(cell[box], 1))
    to_edge = to_edge[y - y.min() + 1, x - x.min() + 1]
    at = np.divmod(np.flatnonzero(nucleus), side) if nucleus.any() else (y, x)
    # In whole numbers: a pixel between two wedges is in the same one after a quarter turn.
    size = at[0].size
    dy, dx = y * size - at[0].sum(), x * size - at[1].sum()
    to_centre = np.hypot(dy, dx) / size
    ring = np.minimum((RINGS * to_centre / (to_centre + to_edge)).astype(np.int64), RINGS - 1)
    return ring * WEDGES + _octants(dy, dx)


def _octants(dy: Int[np.ndarray, " k"], dx: Int[np.ndarray, " k"]) -> Int[np.ndarray, " k"]:
    """Eighth of the circle around the origin, each with its first ray and without its last."""
    second, third, fourth = (dx <= 0) & (dy > 0), (dx < 0) & (dy <= 0), (dx >= 0) & (dy < 0)
    quarter = second * 1 + third * 2 + fourth * 3
    along = np.choose(quarter, [dx, dy, -dx, -dy])
    across = np.choose(quarter, [dy, -dx, -dy, dx])
    return quarter * 2 + (across >= along)


def _rings(
    values: Float[np.ndarray, "c k"], sector: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "c 3 r"]:
    size = RINGS * WEDGES
    pixels = np.bincount(sector, minlength=size).reshape(RINGS, WEDGES)
    result = np.full((len(values), 3, RINGS), np.nan)
    there = pixels.sum(1) > 0
    for c, of_channel in enumerate(values):
        sums = np.bincount(sector, of_channel, size).reshape(RINGS, WEDGES)
        total = sums.sum()
        share = sums.sum(1) / (total if total > 0 else 1.0)
        means = sums / np.maximum(pixels, 1)
        used = pixels > 0
        count = np.maximum(used.sum(1), 1)
        middle = means.sum(1) / count
        spread = np.sqrt(np.where(used, (means - middle[:, None]) ** 2, 0).sum(1) / count)
        result[c, 0] = share
        result[c, 1, there] = share[there] / (pixels.sum(1)[there] / sector.size)
        result[c, 2, there] = (spread / np.where(middle > 0, middle, 1))[there]
    return result


def _eroded(masks: Bool[np.ndarray, "n s s"]) -> Bool[np.ndarray, "n s s"]:
    """Pixels all four neighbours of which are in the mask, too."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    vertical = padded[:, :-2, 1:-1] & padded[:, 2:, 1:-1]
    return masks & vertical & padded[:, 1:-1, :-2] & padded[:, 1:-1, 2:]

"""Shape of objects in crops: size, form, moments; for `cellml.data.cell_measurements`."""

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.spatial import ConvexHull, QhullError

NAMES = (
    "Area",
    "EquivalentDiameter",
    "Perimeter",
    "FormFactor",
    "EulerNumber",
    "BoundingBoxHeight",
    "BoundingBoxWidth",
    "Extent",
    "MajorAxisLength",
    "MinorAxisLength",
    "Eccentricity",
    "AspectRatio",
    "Compactness",
    "ConvexArea",
    "Solidity",
    "MaxFeretDiameter",
    *(f"HuMoment_{i}" for i in range(1, 8)),
)
"""Lengths in px, areas in px^2. Perimeter: Crofton's formula in four directions. FormFactor: 4 pi
area / perimeter^2. Extent: share of the bounding box. Axes: of the ellipse with the same second
moments, pixels taken as points. Compactness: mean squared distance from the centroid over that
of a disk. Convex area: of the hull of the pixels' corners. Hu moments: sign(h) log10(1 + 1e6 |h|),
h being invariant under shift, size and turn."""

_ROOT = 1 / np.sqrt(2)
CROFTON = np.pi / 4 * np.array(
    [0, 1 + _ROOT, _ROOT, 2 * _ROOT, 0, 1 + _ROOT, 0, _ROOT, 1, 2, _ROOT, _ROOT, 1, 2, 0, 0]
)  # fmt: skip
"""Length that each of the 16 patterns of 2 x 2 pixels adds to the perimeter. Source: Legland,
Kieu & Devaux 2007, Image Anal. Stereol. 26:83."""

EULER = np.array([0, 0, 0, 0, 0, 0, -1, 0, 1, 0, 0, 0, 0, 0, -1, 0])
"""What each pattern adds to the Euler number (objects less holes, corners touch)."""


def shape_measurements(masks: Bool[np.ndarray, "n s s"]) -> Float[np.ndarray, "n q"]:
    """Measures `NAMES` of every object; NaN where there is none."""
    result = np.full((len(masks), len(NAMES)), np.nan)
    patterns = _pattern_counts(masks)
    perimeter, euler = patterns @ CROFTON, patterns @ EULER
    for i, mask in enumerate(masks):
        y, x = np.nonzero(mask)
        if y.size:
            result[i] = _one(y, x, float(perimeter[i]), float(euler[i]))
    return result


def _one(
    y: Int[np.ndarray, " k"], x: Int[np.ndarray, " k"], perimeter: float, euler: float
) -> list[float]:
    area = float(y.size)
    height, width = float(np.ptp(y)) + 1, float(np.ptp(x)) + 1
    m = _central_moments(y, x)
    a, b, c = m[2, 0] / area, m[1, 1] / area, m[0, 2] / area
    middle, half = (a + c) / 2, np.hypot((a - c) / 2, b)
    large, small = middle + half, max(middle - half, 0.0)
    convex, feret = _hull(y, x)
    return [
        area,
        np.sqrt(4 * area / np.pi),
        perimeter,
        4 * np.pi * area / perimeter**2,
        euler,
        height,
        width,
        area / (height * width),
        4 * np.sqrt(large),
        4 * np.sqrt(small),
        np.sqrt(1 - small / large) if large > 0 else 0.0,
        np.sqrt(small / large) if large > 0 else 1.0,
        2 * np.pi * (a + c) / area,
        convex,
        area / convex,
        feret,
        *_hu(m, area),
    ]


def _pattern_counts(masks: Bool[np.ndarray, "n s s"]) -> Int[np.ndarray, "n 16"]:
    """Counts the 2 x 2 patterns: 1 for the pixel itself, 4 right of it, 2 below, 8 for both."""
    padded = np.pad(masks, ((0, 0), (1, 1), (1, 1))).astype(np.uint8)
    code = padded[:, 1:, 1:] * np.uint8(8) + padded[:, :-1, 1:] * np.uint8(4)
    code += padded[:, 1:, :-1] * np.uint8(2) + padded[:, :-1, :-1]
    flat = code.reshape(len(masks), -1)
    counts = [np.bincount(row, minlength=16) for row in flat]
    return np.array(counts, np.int64).reshape(len(masks), 16)


def _central_moments(
    y: Int[np.ndarray, " k"], x: Int[np.ndarray, " k"]
) -> Float[np.ndarray, "4 4"]:
    """Sums of dy^i dx^j."""
    dy, dx = y - y.mean(), x - x.mean()
    powers_y = np.stack([np.ones(y.size), dy, dy * dy, dy * dy * dy])
    powers_x = np.stack([np.ones(x.size), dx, dx * dx, dx * dx * dx])
    return powers_y @ powers_x.T


def _hu(m: Float[np.ndarray, "4 4"], area: float) -> Float[np.ndarray, "7"]:
    """Hu's seven invariants of the object's second and third moments, compressed."""
    n = m / area ** (1 + np.add.outer(np.arange(4), np.arange(4)) / 2)
    p, q = n[3, 0] + n[1, 2], n[2, 1] + n[0, 3]
    u, v = n[3, 0] - 3 * n[1, 2], 3 * n[2, 1] - n[0, 3]
    d = n[2, 0] - n[0, 2]
    hu = np.array(
        [
            n[2, 0] + n[0, 2],
            d**2 + 4 * n[1, 1] ** 2,
            u**2 + v**2,
            p**2 + q**2,
            u * p * (p**2 - 3 * q**2) + v * q * (3 * p**2 - q**2),
            d * (p**2 - q**2) + 4 * n[1, 1] * p * q,
            v * p * (p**2 - 3 * q**2) - u * q * (3 * p**2 - q**2),
        ]
    )
    return np.sign(hu) * np.log10(1 + 1e6 * np.abs(hu))


def _hull(y: Int[np.ndarray, " k"], x: Int[np.ndarray, " k"]) -> tuple[float, float]:
    """Area of the convex hull of the pixels' corners, and its largest diameter."""
    top, rows = int(y.min()), int(np.ptp(y)) + 1
    first, last = np.full(rows, np.iinfo(np.int64).max), np.full(rows, -1)
    np.minimum.at(first, y - top, x)
    np.maximum.at(last, y - top, x)
    at = np.flatnonzero(last >= 0)
    left, right = first[at], last[at] + 1
    corners = [(at, left), (at + 1, left), (at, right), (at + 1, right)]
    points = np.concatenate([np.stack(pair, 1) for pair in corners]).astype(np.float64)
    try:
        hull = ConvexHull(points)
    except QhullError:  # cannot be: corners of a pixel are no line
        return float("nan"), float("nan")
    ends = points[hull.vertices]
    apart = ((ends[:, None] - ends[None]) ** 2).sum(-1)
    return float(hull.volume), float(np.sqrt(apart.max()))

"""Places and outlines simulated nuclei: who lies where, how large, in which shape.

Lengths are pixels, angles radians, counter-clockwise from the x axis.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy import ndimage

Field = Float[np.ndarray, "_ _"]
N_HARMONICS = 4


class Kind(NamedTuple):
    """A sort of nuclei.

    Attributes:
      share: Relative frequency.
      size: Mean diameter relative to that of the field.
      size_spread: Standard deviation of the logarithm of the diameter.
      elongation: Range of the ratio of the axes.
      roughness: Standard deviation of the first harmonic of the outline, relative to the radius.
      aligned: Whether it follows the fibres of the tissue.
    """

    share: float
    size: float
    size_spread: float
    elongation: tuple[float, float]
    roughness: float
    aligned: bool = False


class Nucleus(NamedTuple):
    """One nucleus.

    Attributes:
      kind: Name of its sort.
      y, x: Centre.
      major, minor: Half axes.
      angle: Direction of the major axis.
      harmonics: Cosine and sine amplitudes of the outline, (N_HARMONICS, 2).
    """

    kind: str
    y: float
    x: float
    major: float
    minor: float
    angle: float
    harmonics: Float[np.ndarray, "k 2"]


class Footprint(NamedTuple):
    """The window of an image that a nucleus lies in.

    Attributes:
      window: Rows and columns, clipped to the image.
      rho: Distance from the centre relative to the outline in that direction; below 1 is inside.
      u, v: Coordinates along the major and minor axis relative to the half axes.
    """

    window: tuple[slice, slice]
    rho: Field
    u: Field
    v: Field


def place_nuclei(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    n_nuclei: int,
    diameter_px: float,
    kinds: Mapping[str, Kind],
    touching: float,
    overlap: float = 0.22,
    allowed: Field | None = None,
    direction: Field | None = None,
) -> list[Nucleus]:
    """Places nuclei at random, a share of them against a neighbour.

    Args:
      rng: Source of randomness.
      shape: Height and width of the image.
      n_nuclei: Number asked for; a full field may end up with fewer.
      diameter_px: Mean diameter.
      kinds: Sorts of nuclei by name.
      touching: Share of the nuclei that are put against an earlier one.
      overlap: Largest overlap, as a share of the sum of the two radii.
      allowed: Nuclei have their centre where this (h, w) map is positive.
      direction: Angle of the fibres, (h, w), for kinds that are aligned.

    Returns:
      Nuclei in the order of placing; later ones lie on top.
    """
    names = list(kinds)
    shares = np.array([kinds[name].share for name in names])
    chosen = rng.choice(len(names), n_nuclei, p=shares / shares.sum())
    placed: list[Nucleus] = []
    centres = np.empty((0, 3))
    for index in chosen:
        nucleus = _random_shape(rng, names[index], kinds[names[index]], diameter_px)
        radius = np.sqrt(nucleus.major * nucleus.minor)
        for _ in range(30):
            if len(placed) and rng.random() < touching:
                y, x = _beside(rng, centres[rng.integers(len(centres))], radius, overlap)
            else:
                y, x = rng.uniform(0, shape[0]), rng.uniform(0, shape[1])
            if not (0 <= y < shape[0] and 0 <= x < shape[1]):
                continue
            if allowed is not None and allowed[int(y), int(x)] <= 0:
                continue
            distance = np.hypot(centres[:, 0] - y, centres[:, 1] - x)
            if np.all(distance > (1 - overlap) * (centres[:, 2] + radius)):
                angle = nucleus.angle
                if direction is not None and kinds[nucleus.kind].aligned:
                    angle = float(direction[int(y), int(x)] + rng.normal(0, 0.2))
                placed.append(nucleus._replace(y=float(y), x=float(x), angle=angle))
                centres = np.vstack([centres, (y, x, radius)])
                break
    return placed


def footprint(nucleus: Nucleus, shape: tuple[int, int], *, margin: float = 1.3) -> Footprint | None:
    """Finds the pixels that a nucleus may cover.

    Args:
      nucleus: Its place and outline.
      shape: Height and width of the image, px.
      margin: Half the width of the window, in radii.

    Returns:
      The window with its coordinates; None where it misses the image.
    """
    reach = int(np.ceil(max(nucleus.major, nucleus.minor) * margin * 1.2)) + 2
    y0, y1 = max(0, int(nucleus.y) - reach), min(shape[0], int(nucleus.y) + reach + 1)
    x0, x1 = max(0, int(nucleus.x) - reach), min(shape[1], int(nucleus.x) + reach + 1)
    if y0 >= y1 or x0 >= x1:
        return None
    dy, dx = np.arange(y0, y1)[:, None] - nucleus.y, np.arange(x0, x1)[None] - nucleus.x
    cos, sin = np.cos(nucleus.angle), np.sin(nucleus.angle)
    u, v = (cos * dx - sin * dy) / nucleus.major, (sin * dx + cos * dy) / nucleus.minor
    theta = np.arctan2(v, u)
    outline = np.ones_like(theta)
    for order, (a, b) in enumerate(nucleus.harmonics, 2):
        outline += a * np.cos(order * theta) + b * np.sin(order * theta)
    rho = np.hypot(u, v) / np.maximum(outline, 0.3)
    return Footprint((slice(y0, y1), slice(x0, x1)), rho, u, v)


def smooth_noise(
    rng: np.random.Generator, shape: tuple[int, int], sigma: float | tuple[float, float]
) -> Field:
    """Draws correlated Gaussian noise, on a grid no finer than needed.

    Args:
      rng: Source of all randomness.
      shape: Height and width, px.
      sigma: Correlation length in px, one for both axes or (y, x).

    Returns:
      (h, w), mean 0, standard deviation 1.
    """
    sigma_y, sigma_x = sigma if isinstance(sigma, tuple) else (sigma, sigma)
    step_y, step_x = max(1, int(sigma_y / 2)), max(1, int(sigma_x / 2))
    coarse = rng.standard_normal((shape[0] // step_y + 4, shape[1] // step_x + 4))
    coarse = ndimage.gaussian_filter(coarse, (sigma_y / step_y, sigma_x / step_x), mode="wrap")
    if (step_y, step_x) != (1, 1):
        coarse = ndimage.zoom(coarse, (step_y, step_x), order=1)
    noise = coarse[: shape[0], : shape[1]]
    return (noise - noise.mean()) / max(float(noise.std()), 1e-9)


def draw_labels(
    nuclei: list[Nucleus],
    shape: tuple[int, int],
    *,
    min_area_px: int,
    paint: Callable[[Nucleus, Footprint], None],
) -> np.ndarray:
    """Draws label image and, through `paint`, the picture; later nuclei win the pixels they share.

    A nucleus that is covered or cut by the border down to fewer than `min_area_px` pixels gets no
    label; of one that is cut in two by another, the larger part keeps it.

    Args:
      nuclei: In the order of painting.
      shape: Height and width, px.
      min_area_px: Smallest visible nucleus.
      paint: Draws one nucleus into the caller's picture.

    Returns:
      (h, w) int32, labels 1..n without a gap.
    """
    labels = np.zeros(shape, np.int32)
    covered: set[int] = set()
    for number, nucleus in enumerate(nuclei, 1):
        place = footprint(nucleus, shape)
        if place is None:
            continue
        inside = place.rho < 1
        part = labels[place.window]
        covered |= set(np.unique(part[inside]).tolist())
        part[inside] = number
        paint(nucleus, place)
    for number in sorted(covered - {0}):
        window = footprint(nuclei[number - 1], shape).window  # type: ignore[union-attr]
        part = labels[window]
        pieces, n_pieces = ndimage.label(part == number)
        if n_pieces > 1:
            areas = np.bincount(pieces.ravel())[1:]
            part[(pieces > 0) & (pieces != areas.argmax() + 1)] = 0
    areas = np.bincount(labels.ravel(), minlength=len(nuclei) + 1)
    keep = areas >= min_area_px
    keep[0] = False
    renumbered = np.where(keep, np.cumsum(keep), 0).astype(np.int32)
    return renumbered[labels]


def _random_shape(rng: np.random.Generator, name: str, kind: Kind, diameter_px: float) -> Nucleus:
    radius = diameter_px / 2 * kind.size * np.exp(rng.normal(0, kind.size_spread))
    elongation = rng.uniform(*kind.elongation)
    # Higher harmonics fall off, or the outline would look frayed.
    falloff = 1 / np.arange(1, N_HARMONICS + 1)[:, None] ** 1.5
    harmonics = rng.normal(0, kind.roughness, (N_HARMONICS, 2)) * falloff
    return Nucleus(
        name,
        0.0,
        0.0,
        float(radius * np.sqrt(elongation)),
        float(radius / np.sqrt(elongation)),
        float(rng.uniform(0, np.pi)),
        harmonics,
    )


def _beside(
    rng: np.random.Generator, centre: np.ndarray, radius: float, overlap: float
) -> tuple[float, float]:
    distance = (centre[2] + radius) * rng.uniform(1 - 0.9 * overlap, 1.05)
    angle = rng.uniform(0, 2 * np.pi)
    return centre[0] + distance * np.sin(angle), centre[1] + distance * np.cos(angle)

"""Normalisation of profiles against the controls of each plate.

Every method is (x - centre) / scale, with centre and scale from the fitted rows of the plate. Where
a feature hardly varies among them the quotient would explode (a MAD of 0 gives 1e13 elsewhere):
there the spread of the feature over all rows stands in, and the result says where.
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
from jaxtyping import Bool, Float, Integer

Method = Literal["standardize", "robustize", "mad_robustize", "percentile"]
"""`"standardize"`: mean and standard deviation (over n). `"robustize"`: median and distance of the
quartiles. `"mad_robustize"`: median and 1.4826 times the median absolute deviation. `"percentile"`:
the 1st percentile becomes 0 and the 99th 1 (Ljosa et al. 2013, for BBBC021)."""

FLOOR = 1e-3
"""Smallest scale in use, as a share of the standard deviation of the feature over all rows."""


class Normalised(NamedTuple):
    """Normalised profiles.

    Attributes:
      values: In the dtype of the profiles.
      plates: Codes of the plates, ascending; one 0 if there were none given.
      centre: Subtracted, per plate.
      scale: Divided by, per plate.
      floored: Where the scale is not that of the fitted rows. Worth a warning.
    """

    values: Float[np.ndarray, "n f"]
    plates: np.ndarray
    centre: Float[np.ndarray, "p f"]
    scale: Float[np.ndarray, "p f"]
    floored: Bool[np.ndarray, "p f"]


def normalise_profiles(
    profiles: Float[np.ndarray, "n f"],
    *,
    method: str = "mad_robustize",
    plates: Integer[np.ndarray, " n"] | None = None,
    controls: Bool[np.ndarray, " n"] | None = None,
    floor: float = FLOOR,
) -> Normalised:
    """Centres and scales every feature, plate by plate.

    Args:
      profiles: NaN is a missing number, and stays.
      method: See `Method`.
      plates: Plate of each profile; all are of one plate, if None.
      controls: Rows that centre and scale are fitted on; all rows, if None.
      floor: Smallest scale as a share of the standard deviation of the feature over all rows of
        all plates. Below, that standard deviation is the scale: the floor itself would still blow
        the feature up a thousand times. A feature that is constant everywhere has the scale 1, so
        that it becomes 0.

    Returns:
      Normalised profiles, and where the scale was replaced.

    Raises:
      ValueError: Unknown method, lengths that do not fit, or a plate without controls.
    """
    if method not in get_args(Method):
        raise ValueError(f"method must be one of {list(get_args(Method))}, found {method!r}")
    if floor < 0:
        raise ValueError(f"floor must not be negative, found {floor}")
    n = len(profiles)
    plate_of = np.zeros(n, np.int64) if plates is None else np.asarray(plates)
    fitted = np.ones(n, bool) if controls is None else np.asarray(controls)
    if plate_of.shape != (n,) or fitted.shape != (n,):
        raise ValueError(
            f"plates {plate_of.shape} and controls {fitted.shape} must have one entry for each of "
            f"{n} profiles"
        )
    codes, plate_index = np.unique(plate_of, return_inverse=True)
    overall = masked_sd(profiles)
    overall = np.where(np.isnan(overall), 0, overall)
    values = np.empty_like(profiles)
    centre = np.empty((codes.size, profiles.shape[1]))
    scale, floored = np.empty_like(centre), np.empty(centre.shape, bool)
    for p, code in enumerate(codes):
        rows = plate_index == p
        if not (rows & fitted).any():
            raise ValueError(f"plate {code} has no controls to be normalised against")
        centre[p], found = location_and_scale(profiles[rows & fitted], method=method)
        # `not >=` also catches a scale of NaN: all controls missing.
        floored[p] = ~(found >= floor * overall) | (found == 0)
        scale[p] = np.where(floored[p], np.where(overall > 0, overall, 1.0), found)
        values[rows] = (profiles[rows] - centre[p]) / scale[p]
    return Normalised(values, codes, centre, scale, floored)


def location_and_scale(
    rows: Float[np.ndarray, "m f"], *, method: str
) -> tuple[Float[np.ndarray, " f"], Float[np.ndarray, " f"]]:
    """Centre and scale of every feature, in float64, NaN left out.

    Args:
      rows: At least one.
      method: See `Method`.

    Returns:
      Centre and scale; NaN where a feature has no number.
    """
    rows = rows.astype(np.float64)
    if method == "standardize":
        there = ~np.isnan(rows)
        count = there.sum(0)
        total = np.where(there, rows, 0).sum(0)
        centre = np.where(count > 0, total / np.maximum(count, 1), np.nan)
        return centre, masked_sd(rows)
    if method == "percentile":
        low = quantile(rows, 0.01)
        return low, quantile(rows, 0.99) - low
    centre = quantile(rows, 0.5)
    if method == "robustize":
        return centre, quantile(rows, 0.75) - quantile(rows, 0.25)
    return centre, 1.4826 * quantile(np.abs(rows - centre), 0.5)


def masked_sd(rows: Float[np.ndarray, "m f"]) -> Float[np.ndarray, " f"]:
    """Standard deviation (over n) of every feature in float64, NaN left out; NaN without numbers.

    A feature that is constant gets exactly 0, which rounding of its mean would miss.
    """
    rows = rows.astype(np.float64)
    there = ~np.isnan(rows)
    count = np.maximum(there.sum(0), 1)
    first = np.where(there, rows, -np.inf).max(0)
    first = np.where(there.any(0), first, 0)
    shifted = np.where(there, rows - first, 0)
    mean = shifted.sum(0) / count
    variance = np.where(there, (shifted - mean) ** 2, 0).sum(0) / count
    return np.where(there.any(0), np.sqrt(variance), np.nan)


def quantile(rows: Float[np.ndarray, "m f"], q: float) -> Float[np.ndarray, " f"]:
    """Quantile of every feature, linear between ranks, NaN left out.

    Args:
      rows: At least one.
      q: Within [0, 1].

    Returns:
      NaN, and no warning, where a feature has no number.
    """
    count = (~np.isnan(rows)).sum(0)
    ascending = np.sort(rows, axis=0)
    place = q * np.maximum(count - 1, 0)
    low = np.floor(place).astype(np.int64)
    high = np.minimum(low + 1, np.maximum(count - 1, 0))
    column = np.arange(rows.shape[1])
    at_low, at_high = ascending[low, column], ascending[high, column]
    return at_low + (at_high - at_low) * (place - low)
